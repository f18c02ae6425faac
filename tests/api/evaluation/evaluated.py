"""Embedded images without a model, and the answer that is measured from them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from api.evaluation.classification import count_images
from api.evaluation.embedding import DeliveredImages, Embeddings
from api.evaluation.json import EvaluationAnswer, MeasuredImages, RunFacts, WrongImage
from api.evaluation.judging import Rules
from api.evaluation.measuring import measure
from api.evaluation.reading import Labelled
from api.evaluation.request import EvaluationRequest
from api.fields import FailedItem
from embedder.pictures.delivery import Condition
from index.calibration.population import Population
from index.evidence import ProbeFacts
from index.policy import Choices
from index.verdict import ClassifierPolicy
from tests.api.evaluation.made import anywhere, clusters

LIMITS = ClassifierPolicy(2.0, -2.0, "a validation set")


def rules(limits: ClassifierPolicy | None = LIMITS, **choices: float) -> Rules:
    """The rules of a look-up, with a model's own limits."""
    usual = {"miss_rate": 0.1, "false_alarm_rate": 0.1}
    return Rules(Choices(threshold=None, classifier=limits, **usual | choices), 0.1)


def joined(one: Population, other: Population) -> Population:
    return Population(
        image_ids=np.arange(len(one) + len(other)),
        sources=np.arange(len(one) + len(other)),
        vectors=np.concatenate([one.vectors, other.vectors]),
        logits=np.concatenate([one.logits, other.logits]),
        generators=(*one.generators, *other.generators),
        hashes=(*one.hashes, *other.hashes),
    )


def embed_without_a_model(
    sizes: dict[str, int], reals: int, *, sources: int | None = None, deliver: bool = False
) -> Embeddings:
    """Fakes of each generator in a cluster, real images anywhere; the logits mostly agree with it.

    With `sources`, each image declares one of that many sources, the same for all generators.
    """
    fakes, photographs = clusters(sizes), anywhere(reals)
    population = joined(fakes, photographs)
    n = len(population)
    synthetic = np.arange(n) < len(fakes)
    random = np.random.default_rng(7)
    logits = np.where(synthetic, 3.0, -3.0) + 2.0 * random.standard_normal(n)
    population = Population(
        population.image_ids,
        population.sources,
        population.vectors,
        logits,
        population.generators,
        population.hashes,
    )
    numbers = np.arange(n) if sources is None else np.arange(n) % sources + 1000 * ~synthetic
    images = tuple(
        Labelled(
            number,
            f"{number}.png",
            f"/images/{number}.png",
            bool(synthetic[number]),
            population.generators[number],
            f"source {numbers[number]}",
            sources is not None,
        )
        for number in range(n)
    )
    rows = np.arange(0, n, 2)
    facts = tuple(probe_facts(logit) for logit in logits)
    delivered = {}
    if deliver:
        delivered[Condition.JPEG50] = DeliveredImages(
            rows,
            population.vectors[rows],
            -logits[rows],
            tuple(probe_facts(-logit, Condition.JPEG50) for logit in logits[rows]),
        )
    return Embeddings(
        images=images,
        population=population,
        synthetic=synthetic,
        sources=numbers.astype(np.int64),
        facts=facts,
        delivered=delivered,
        conditioned=rows if deliver else np.empty(0, np.int64),
        failures=(),
        wrong=(),
    )


def probe_facts(logit: float, condition: Condition = Condition.AS_IS) -> ProbeFacts:
    """What a look-up knows of a picture that is large enough and not flat."""
    return ProbeFacts(float(logit), condition.value, shortest_side=256, model_side=32)


def answer_of(embedded: Embeddings, limits: ClassifierPolicy | None = LIMITS) -> EvaluationAnswer:
    """The answer of an evaluation of these images, with two wrong images and a failure."""
    figures = measure(embedded, rules(limits), 0)
    return EvaluationAnswer(
        made=RunFacts(
            lineup_version="0.0",
            model="tiny",
            weights_sha256="1" * 64,
            embedding_space="2" * 64,
            device="cpu",
            precision="float32",
            image_size=32,
            dimension=16,
            synthetic_logit=None if limits is None else limits.synthetic_logit,
            no_traces_logit=None if limits is None else limits.no_traces_logit,
            logit_source=None if limits is None else "a validation set",
            created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            seconds=1.5,
            command="lineup evaluate /images",
        ),
        request=EvaluationRequest(source="/images"),
        measured=MeasuredImages(
            found=len(embedded.images) + 1,
            labelled=len(embedded.images),
            sampled=len(embedded.images),
            failed=1,
            n=count_images(embedded.synthetic, embedded.sources),
            sources_told=embedded.images[0].source_is_declared,
            generators={"sdxl": 30},
            condition_images=len(embedded.conditioned),
            duplicates=0,
        ),
        classifier=figures.classifier,
        verdicts=figures.verdicts,
        retrieval=figures.retrieval,
        attribution=figures.attribution,
        similarity=figures.similarity,
        wrong=[
            WrongImage(
                name="<b>real</b>.png",
                location="/images/real.png",
                label="real",
                generator=None,
                logit=4.5,
            ),
            WrongImage(
                name="fake.png", location=None, label="synthetic", generator="sdxl", logit=-3.25
            ),
        ],
        failures=[FailedItem(name="x.png", reason="truncated", detail="ends early in /images")],
    )

"""What an image file itself says of where it came from, verbatim. Nothing of it is checked: anybody
can write it.

Keys name the place: `png:parameters`, `exif:Software`, `xmp:CreatorTool`, `iptc:Credit`,
`jpeg:Comment`. Values are text as it stands there. For privacy only fields that tell the origin of
the picture are read, among them those that credit somebody for it; never GPS, the camera's owner or
a serial number. Metadata that cannot be read are told as `exif:error` with the reason, and never
fail an image.
"""

from embedder.file_metadata.generator import stated_generator
from embedder.file_metadata.reading import stated
from embedder.file_metadata.statements import Stated, Statement

__all__ = ["Stated", "Statement", "stated", "stated_generator"]

"""What a client that is no browser sends with every change: a header that no form can send."""

NO_BROWSER = {"X-Requested-By": "tests"}

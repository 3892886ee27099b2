"""httpx for servers on loopback: the environment's proxies, certificates and .netrc have no say in it."""

from functools import partial

import httpx

get = partial(httpx.get, trust_env=False)
post = partial(httpx.post, trust_env=False)
Client = partial(httpx.Client, trust_env=False)
AsyncClient = partial(httpx.AsyncClient, trust_env=False)

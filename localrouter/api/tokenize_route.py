"""`POST /tokenize` and `POST /detokenize`, at the root as llama-server has them, and under /v1."""

from litestar import Request, post
from litestar.datastructures import State
from litestar.types import ASGIApp

from localrouter.api.exchange import Exchange, Reply
from localrouter.api.service import service_of
from localrouter.chat.engine_interface import LoadedEngine
from localrouter.chat.request.sampling_params import check_tokens
from localrouter.engine.messages import Segment
from localrouter.schema.tokenization import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
    TokenPiece,
)


@post("/tokenize", status_code=200)
async def tokenize(request: Request[None, None, State]) -> ASGIApp:
    """Return the tokens of a text."""
    return Exchange(service_of(request.app.state), TokenizeRequest, _tokenize)


@post("/detokenize", status_code=200)
async def detokenize(request: Request[None, None, State]) -> ASGIApp:
    """Return the text of tokens."""
    return Exchange(service_of(request.app.state), DetokenizeRequest, _detokenize)


async def _tokenize(engine: LoadedEngine, request: TokenizeRequest, reply: Reply) -> None:
    segment = Segment(request.content, control=request.parse_special is not False)
    found = await engine.tokenize([segment], bool(request.add_special))
    pieces = [TokenPiece(token, _shown(piece)) for token, piece in zip(found.tokens, found.pieces, strict=True)]
    tokens = pieces if request.with_pieces else found.tokens
    await reply.plain(TokenizeResponse(model=engine.model, count=len(tokens), tokens=tokens))


async def _detokenize(engine: LoadedEngine, request: DetokenizeRequest, reply: Reply) -> None:
    check_tokens(request.tokens, engine.info.vocabulary, "tokens")
    found = await engine.detokenize(request.tokens)
    content = b"".join(found.pieces).decode(errors="replace")
    await reply.plain(DetokenizeResponse(model=engine.model, count=len(request.tokens), content=content))


def _shown(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)

"""Tokens of texts and conversations, at the root as llama-server and vLLM have the routes, and under /v1."""

from functools import partial

from litestar import Request, Response, post, route
from litestar.datastructures import State
from litestar.params import FromQuery
from litestar.types import ASGIApp

from localrouter.api.exchange import Exchange
from localrouter.api.health_route import READ
from localrouter.api.reply import Reply
from localrouter.api.service import service_of
from localrouter.chat.engine_interface import LeasedEngine
from localrouter.chat.prompt.chat_prompt import Renderer
from localrouter.chat.request.sampling_params import check_tokens
from localrouter.chat.response.prompt_tokens import prompt_tokens
from localrouter.engine.generation_request import Segment
from localrouter.engine.messages import Tokens
from localrouter.engine.model_info import ModelInfo
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.tokenization import (
    DetokenizeRequest,
    DetokenizeResponse,
    InputTokens,
    PromptTokensResponse,
    TokenizeRequest,
    TokenizeResponse,
    TokenizerInfo,
    TokenPiece,
)


@post("/tokenize", status_code=200)
async def tokenize(request: Request[None, None, State]) -> ASGIApp:
    """Return the tokens of a text or of a conversation."""
    service = service_of(request.app.state)
    return Exchange(service, TokenizeRequest, partial(_tokenize, service.renderer))


@post("/detokenize", status_code=200)
async def detokenize(request: Request[None, None, State]) -> ASGIApp:
    """Return the text of tokens."""
    return Exchange(service_of(request.app.state), DetokenizeRequest, _detokenize)


@post("/chat/completions/input_tokens", status_code=200)
async def count_input_tokens(request: Request[None, None, State]) -> ASGIApp:
    """Return the number of prompt tokens of a chat request."""
    service = service_of(request.app.state)
    return Exchange(service, ChatRequest, partial(_count, service.renderer))


@route("/tokenizer_info", http_method=READ)
async def tokenizer_info(
    request: Request[None, None, State], model: FromQuery[str | None] = None
) -> Response[TokenizerInfo]:
    """Return facts about the tokenizer of a model, which is loaded if need be."""
    service = service_of(request.app.state)
    async with service.lease(model) as engine:
        begins = bool((await engine.tokenize([], True)).tokens)
        name = engine.name if service.settings.echo_model_name else engine.model
        return Response(_described(name, engine.info, begins=begins))


async def _tokenize(renderer: Renderer, engine: LeasedEngine, request: TokenizeRequest, reply: Reply) -> None:
    if request.content is not None:
        await reply.plain(await _tokenize_content(engine, request, request.content))
        return
    if request.prompt is not None:
        found = await engine.tokenize([Segment(request.prompt, control=True)], request.add_special_tokens is not False)
    else:
        found = await prompt_tokens(
            engine,
            request.conversation(engine.model),
            renderer,
            engine.defaults,
            begin_turn=request.add_generation_prompt is not False,
            begin=bool(request.add_special_tokens),
        )
    await reply.plain(_prompt_response(engine, found, with_texts=bool(request.return_token_strs)))


async def _tokenize_content(engine: LeasedEngine, request: TokenizeRequest, content: str) -> TokenizeResponse:
    segment = Segment(content, control=request.parse_special is not False)
    found = await engine.tokenize([segment], bool(request.add_special))
    pieces = [TokenPiece(token, _shown(piece)) for token, piece in zip(found.tokens, found.pieces, strict=True)]
    tokens = pieces if request.with_pieces else found.tokens
    return TokenizeResponse(model=engine.model, count=len(tokens), tokens=tokens)


def _prompt_response(engine: LeasedEngine, found: Tokens, *, with_texts: bool) -> PromptTokensResponse:
    return PromptTokensResponse(
        model=engine.model,
        count=len(found.tokens),
        max_model_len=engine.info.context,
        tokens=found.tokens,
        token_strs=[piece.decode(errors="replace") for piece in found.pieces] if with_texts else None,
    )


async def _detokenize(engine: LeasedEngine, request: DetokenizeRequest, reply: Reply) -> None:
    check_tokens(request.tokens, engine.info.vocabulary, "tokens")
    found = await engine.detokenize(request.tokens)
    text = b"".join(found.pieces).decode(errors="replace")
    await reply.plain(DetokenizeResponse(model=engine.model, count=len(request.tokens), content=text, prompt=text))


async def _count(renderer: Renderer, engine: LeasedEngine, request: ChatRequest, reply: Reply) -> None:
    found = await prompt_tokens(engine, request, renderer, engine.defaults)
    await reply.plain(InputTokens(model=engine.model, input_tokens=len(found.tokens)))


def _described(model: str, info: ModelInfo, *, begins: bool) -> TokenizerInfo:
    return TokenizerInfo(
        model=model,
        vocab_size=info.vocabulary,
        model_max_length=info.context,
        bos_token=info.bos_token or None,
        eos_token=info.eos_token or None,
        pad_token=info.pad_token or None,
        add_bos_token=begins,
        chat_template=info.chat_template,
        additional_special_tokens=list(info.special_tokens),
    )


def _shown(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)

"""The table of operations that the OpenAPI document describes: one entry for each route."""

from dataclasses import dataclass
from typing import Literal

import msgspec
from pydantic import BaseModel

from localrouter.api.health_route import HealthResponse, LiveResponse, ReadyResponse
from localrouter.api.models_route import ModelList, ModelObject
from localrouter.api.root_route import ServerInfo
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.chat_response import ChatCompletionChunk, ChatCompletionResponse
from localrouter.schema.explain import Explanation
from localrouter.schema.infill import InfillRequest, InfillResponse
from localrouter.schema.responses.request import ResponsesRequest
from localrouter.schema.responses.response import ResponseEvent, ResponseObject
from localrouter.schema.text_completions import CompletionRequest, TextCompletionResponse
from localrouter.schema.tokenization import (
    DetokenizeRequest,
    DetokenizeResponse,
    InputTokens,
    PromptTokensResponse,
    TokenizeRequest,
    TokenizeResponse,
    TokenizerInfo,
)

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
OPENAPI_JSON = "application/vnd.oai.openapi+json"


@dataclass(frozen=True)
class Parameter:
    """The name of a model in the path or the query of a URL; a model that is not found is a 404."""

    name: str
    place: Literal["path", "query"]
    description: str


@dataclass(frozen=True)
class Operation:
    """One route: a GET, or with a `request` a POST."""

    id: str
    """Name of the operation, from which client generators name a function."""
    paths: tuple[str, ...]
    """Paths of the route, the one of the documentation first."""
    summary: str
    response: type[msgspec.Struct] | None
    """Type of the response's body; None: any object."""
    request: type[BaseModel] | None = None
    or_response: type[msgspec.Struct] | None = None
    """Type of the response's body for requests in another server's form; None: there is no such form."""
    chunk: type[msgspec.Struct] | None = None
    """Type of the events of a streamed response; None: the route does not stream."""
    parameters: tuple[Parameter, ...] = ()
    needs_key: bool = True
    """Whether a server with an API key requires it."""
    media_type: str = JSON
    unavailable: str = ""
    """When the response has the status 503 with the same body; "": never."""

    @property
    def method(self) -> str:
        """HTTP method as OpenAPI writes it: `get` or `post`."""
        return "get" if self.request is None else "post"


def _api(path: str) -> tuple[str, str]:
    """Return the paths of an OpenAI route."""
    return f"/v1{path}", path


OPERATIONS = (
    Operation(
        "create_chat_completion",
        _api("/chat/completions"),
        "Generate a chat completion, streamed or not.",
        ChatCompletionResponse,
        request=ChatRequest,
        chunk=ChatCompletionChunk,
    ),
    Operation(
        "explain_chat_completion",
        _api("/chat/completions/explain"),
        "Return the rendered prompt and the effective parameters of a chat request, without generating.",
        Explanation,
        request=ChatRequest,
    ),
    Operation(
        "create_completion",
        _api("/completions"),
        "Continue one or several raw prompts, streamed or not.",
        TextCompletionResponse,
        request=CompletionRequest,
        chunk=TextCompletionResponse,
    ),
    Operation(
        "create_response",
        _api("/responses"),
        "Generate a response in the form of OpenAI's Responses API, streamed or not.",
        ResponseObject,
        request=ResponsesRequest,
        chunk=ResponseEvent,
    ),
    Operation(
        "explain_response",
        _api("/responses/explain"),
        "Return the chat request and the rendered prompt that a request of the Responses API becomes.",
        Explanation,
        request=ResponsesRequest,
    ),
    Operation(
        "count_input_tokens",
        _api("/chat/completions/input_tokens"),
        "Return the number of prompt tokens of a chat request.",
        InputTokens,
        request=ChatRequest,
    ),
    Operation(
        "infill",
        ("/infill", "/v1/infill"),
        "Generate the text between two texts, streamed or not.",
        InfillResponse,
        request=InfillRequest,
        chunk=InfillResponse,
    ),
    Operation(
        "tokenize",
        ("/tokenize", "/v1/tokenize"),
        "Return the tokens of a text, or of a conversation.",
        TokenizeResponse,
        TokenizeRequest,
        or_response=PromptTokensResponse,
    ),
    Operation(
        "tokenizer_info",
        ("/tokenizer_info", "/v1/tokenizer_info"),
        "Return facts about the tokenizer of a model.",
        TokenizerInfo,
        parameters=(Parameter("model", "query", "name of the model; not needed where one model is served"),),
    ),
    Operation(
        "detokenize",
        ("/detokenize", "/v1/detokenize"),
        "Return the text of tokens.",
        DetokenizeResponse,
        DetokenizeRequest,
    ),
    Operation("list_models", _api("/models"), "Return the models that can be used.", ModelList),
    Operation(
        "read_model",
        _api("/models/{name}"),
        "Return one model, by alias, alias:variant or full name.",
        ModelObject,
        parameters=(Parameter("name", "path", "name of the model; it may have slashes"),),
    ),
    Operation(
        "health",
        ("/health", "/v1/health"),
        "Return whether new requests are accepted.",
        HealthResponse,
        needs_key=False,
        unavailable="The server shuts down.",
    ),
    Operation("live", ("/health/live",), "Return 200 while the process runs.", LiveResponse, needs_key=False),
    Operation(
        "ready",
        ("/health/ready",),
        "Return whether new requests are accepted, and the state of the models in memory.",
        ReadyResponse,
        needs_key=False,
        unavailable="The server shuts down.",
    ),
    Operation(
        "root", ("/",), "Return the name of the server and the paths of its main routes.", ServerInfo, needs_key=False
    ),
    Operation(
        "read_schema",
        ("/schema", "/schema/openapi.json"),
        "Return this document.",
        None,
        needs_key=False,
        media_type=OPENAPI_JSON,
    ),
)
"""All routes. HEAD, which is GET without a body, and OPTIONS are not listed."""

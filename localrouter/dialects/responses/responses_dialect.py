"""The Responses API as a dialect: how requests are translated, and chunks."""

from localrouter.dialects.dialect import Dialect
from localrouter.dialects.responses.response_stream import ResponseStream
from localrouter.dialects.responses.translation import translate
from localrouter.schema.responses.request import ResponsesRequest

RESPONSES = Dialect(ResponsesRequest, translate, ResponseStream)

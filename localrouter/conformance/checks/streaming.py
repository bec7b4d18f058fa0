"""Checks of streams of server-sent events."""

from openai.types.chat import ChatCompletionChunk

from localrouter.conformance.check import CheckGroup, Undecided, equal, expect, thrice
from localrouter.conformance.server_under_test import ServerUnderTest

STREAMING = CheckGroup("streaming")


@STREAMING.check("stream")
def a_stream_is_an_event_stream(server: ServerUnderTest) -> None:
    """With `stream` the answer is sent as server-sent events, whose media type is `text/event-stream`."""
    found = server.stream().content_type
    expect(found.split(";")[0].strip() == "text/event-stream", f"the media type is {found!r}")


@STREAMING.check("stream")
def chunks_have_the_shape_of_the_sdk(server: ServerUnderTest) -> None:
    """Every chunk has each field that the reference calls required, of its type."""
    chunks = server.stream().chunks
    expect(chunks, "there was no chunk")
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
        equal(chunk["object"], "chat.completion.chunk", "object")


@STREAMING.check("stream")
def chunks_have_one_id_and_one_time(server: ServerUnderTest) -> None:
    """Each chunk has the same `id`, and the same `created`."""
    chunks = server.stream().chunks
    for name in ("id", "created"):
        found = {chunk[name] for chunk in chunks}
        expect(len(found) == 1, f"there are {len(found)} values of {name}")


@STREAMING.check("stream")
def the_first_delta_has_the_role(server: ServerUnderTest) -> None:
    """The first delta of a choice has the role of the author: `assistant`."""
    deltas = [choice["delta"] for choice in server.stream().choices()]
    equal(deltas[0].get("role"), "assistant", "role of the first delta")


@STREAMING.check("stream")
def one_chunk_has_the_finish_reason(server: ServerUnderTest) -> None:
    """`finish_reason` is null until the choice ends, and then says why."""
    stream = server.stream()
    reasons = stream.finish_reasons()
    expect(len(reasons) == 1, f"the finish reasons are {reasons}")
    expect(reasons[0] in ("stop", "length"), f"finish_reason is {reasons[0]!r}")
    equal(stream.choices()[-1].get("finish_reason"), reasons[0], "finish_reason of the last chunk")


@STREAMING.check("stream")
def a_stream_ends_with_done(server: ServerUnderTest) -> None:
    """The stream is ended by `data: [DONE]`."""
    expect(server.stream().done, "the last event was not [DONE]")


@STREAMING.check("stream")
def the_sdk_reads_the_stream(server: ServerUnderTest) -> None:
    """The openai client iterates over the chunks, and ends."""
    chunks = server.read_by_the_sdk(max_tokens=8)
    expect(any(choice.finish_reason for chunk in chunks for choice in chunk.choices), "no finish reason was read")


@STREAMING.check("stream_options")
def usage_comes_last_when_it_is_asked_for(server: ServerUnderTest) -> None:
    """With `include_usage` one more chunk, with empty `choices`, has the usage of the whole request."""
    last = server.stream(stream_options={"include_usage": True}).chunks[-1]
    equal(last["choices"], [], "choices of the last chunk")
    usage = last["usage"]
    equal(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"], "total_tokens")


@STREAMING.check("stream_options")
def usage_is_null_before(server: ServerUnderTest) -> None:
    """With `include_usage` all other chunks also include a `usage` field, with a null value."""
    for chunk in server.stream(stream_options={"include_usage": True}).chunks[:-1]:
        expect("usage" in chunk, "a chunk before the last has no usage")
        equal(chunk["usage"], None, "usage before the last chunk")


@STREAMING.check("stream_options")
def no_usage_comes_unasked(server: ServerUnderTest) -> None:
    """Without `include_usage` no chunk carries usage."""
    chunks = server.stream().chunks
    expect(not any(chunk.get("usage") for chunk in chunks), "a chunk carries usage")


@STREAMING.check("stream")
@thrice
def a_stream_says_what_a_plain_answer_says(server: ServerUnderTest) -> None:
    """Streaming changes how the answer is sent, not what it is."""
    same = {"temperature": 0, "seed": 7}
    plain, again = server.text(**same), server.text(**same)
    if plain != again:
        raise Undecided("two plain answers at temperature 0 differ already")
    equal(server.stream(**same).text(), plain, "the streamed text")

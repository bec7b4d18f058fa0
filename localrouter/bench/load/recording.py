"""Recorded HTTP exchange: the received bytes with their times, parsed after the run."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import h11

from localrouter.bench.load.figures import StreamTimes

OK = 200


@dataclass
class Recording:
    """Recorded response to one request, which was sent at `began`, in seconds of the clock of `arrivals`."""

    began: float
    asked_tokens: int
    turn: int = 0
    """Turn of the conversation that the response belongs to, counted from 0."""
    arrivals: list[tuple[float, bytes]] = field(default_factory=list)
    error: str | None = None

    def stream(self) -> StreamTimes:
        """Parse the response; errors of HTTP become the error of the stream."""
        if self.error is not None:
            return self._broken(self.error)
        status, body = OK, list[tuple[float, bytes]]()
        try:
            for time, event in self._events():
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body.append((time, bytes(event.data)))
        except h11.RemoteProtocolError as error:
            return self._broken(f"the response is not HTTP, or was truncated: {error}")
        if status != OK:
            return self._broken(f"status {status}: {b''.join(data for _, data in body).decode(errors='replace')[:300]}")
        return StreamTimes.parse(self.began, self.asked_tokens, body, turn=self.turn)

    def _events(self) -> Iterator[tuple[float, object]]:
        """Yield time and HTTP event of everything received; the connection's end has the time of the last bytes."""
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method="POST", target="/", headers=[("host", "127.0.0.1")]))
        reader.send(h11.EndOfMessage())
        end = self.arrivals[-1][0] if self.arrivals else self.began
        for time, received in [*self.arrivals, (end, b"")]:
            reader.receive_data(received)
            while (event := reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                yield time, event
                if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    return

    def _broken(self, error: str) -> StreamTimes:
        return StreamTimes(self.began, self.asked_tokens, self.turn, error=error)

"""A terminal in the browser: bytes between its WebSocket and the agent that holds the shell.

From the browser: binary = keys; {"type": "ack", "bytes"} output shown; {"type": "resize", "columns", "rows"};
{"type": "ping"}; {"type": "end"} close the shell; {"type": "seen"} the exit message arrived.
To the browser: binary = output; {"type": "ready", "opened"}; {"type": "replay", "from", "to"}; {"type": "took",
"bytes"} keys passed on; {"type": "pong"}; {"type": "recording", "on", "why"}; {"type": "watchers", "names"};
{"type": "exit", "code", "reason", "state"}; and before a close {"type": "refused" | "away" | "gone", "message", "hint",
"since", "state"}.

Both directions run on credit: no more than OUTPUT_WINDOW bytes are under way to a browser that has not shown
them, and no more than INPUT_WINDOW of its keys wait here. Credit travels beside the bytes and is never
blocked by them: a shell that stops reading while its output waits would lock up otherwise.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import aiohttp
from django.db import DatabaseError
from django.utils import timezone
from kombu.exceptions import OperationalError

from containers.access import get_container
from containers.consumers.pending import Pending
from containers.models import Container, Ending
from containers.recordings.keeping import Keeping, Unrecorded
from containers.shells import require_shell
from containers.tasks import SETTLE_SECONDS, settle_terminal
from containers.terminals import (
    HostAway,
    NotHeld,
    Order,
    TerminalError,
    Terminals,
    parse_command,
    terminal_id,
)
from controlplane.access.models import User
from controlplane.lib.errors import GantryError, InvalidArgument
from controlplane.lib.sockets import NOT_ALLOWED, NOT_SIGNED_IN, NOT_THERE
from controlplane.lib.threads import in_thread
from controlplane.operations import refusals
from controlplane.operations.audit import about
from controlplane.operations.models import AuditEntry
from controlplane.operations.sockets import AuditedConsumer, Reading
from hosts.rules.errors import RulesBroken

log = logging.getLogger(__name__)

OUTPUT_WINDOW = 512 * 1024  # bytes sent and not yet shown
INPUT_WINDOW = 64 * 1024  # bytes the browser may send ahead of "took"
TOOK_EVERY = 16 * 1024  # bytes of input between two "took"
SEEN_SECONDS = 5.0  # how long the exit message may take to be confirmed
BAD_REQUEST, TAKEN_OVER, REFUSED, AWAY, BROKEN = 4400, 4409, 4422, 4503, 1011
TOO_FAST = 4429  # keys sent beyond the window
RIGHT_ENDED = (NOT_SIGNED_IN, NOT_ALLOWED, NOT_THERE)
ENDINGS = {"exited": Ending.EXITED, "container stopped": Ending.STOPPED}  # of the agent's exit message


class TerminalConsumer(AuditedConsumer):
    """`/ws/containers/<pk>/terminal?session=<uuid>&columns=&rows=[&command=&user=][&from=<byte offset>]`.

    Without `from` the shell is opened (or, if this session has one, joined); with it, only joined.
    """

    # No layer: a terminal needs no group, and goes on while Redis is away.
    channel_layer_alias = "none"
    container: Container
    stopping: asyncio.Task[None] | None = None  # the right has ended: so does the shell
    held = False  # the agent holds a shell of ours that has not ended
    closing: int | None = None
    ending: Ending | None = None  # of the recording, when the end comes from here

    def authorise(self) -> None:
        pk = self.scope["url_route"]["kwargs"]["pk"]
        self.container = get_container(self.scope["user"], pk, "container.exec")

    def is_there(self) -> bool:
        return Container.objects.filter(pk=self.container.pk).exists()

    async def dispatch(self, message: dict[str, Any]) -> None:
        # Channels looks after database connections in a shared thread before every message: not before a key.
        if message["type"] == "websocket.receive":
            await self.websocket_receive(message)
        else:
            await super().dispatch(message)

    async def opened(self) -> None:
        query = {key: values[0] for key, values in parse_qs(self.scope["query_string"].decode()).items()}
        try:
            self.session = str(UUID(query["session"]))
            self.offset = int(query["from"]) if "from" in query else None
            self.order = Order(
                container=self.container.engine_id,
                command=parse_command(query.get("command", "")),
                user=query.get("user", "")[:200],
                columns=_cells(query.get("columns", 80)),
                rows=_cells(query.get("rows", 24)),
            )
        except InvalidArgument as exc:
            await self._say_and_close("refused", exc, REFUSED)
            return
        except (KeyError, ValueError):
            await self.close(BAD_REQUEST)
            return
        self.ident = terminal_id(self.scope["user"], self.container, self.session)
        self.reading = Reading(self.scope["user"], "container.exec", **about(self.container))
        self.unshown, self.shown = 0, asyncio.Event()
        self.input = Pending()
        self.seen = asyncio.Event()
        self.keeping = Keeping(self._say, self._audit, self._forbid)
        self.relay = asyncio.create_task(self._serve())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.relay is None or self.stopping is not None:
            return
        if bytes_data is not None:
            if self.input.waiting + len(bytes_data) > 2 * INPUT_WINDOW:
                await self.close(TOO_FAST)
            else:
                self.input.keys(bytes_data)
            return
        try:
            await self._control(json.loads(text_data or ""))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            await self.close(BAD_REQUEST)

    async def _control(self, order: dict[str, Any]) -> None:
        kind = order["type"]
        if kind == "ack":
            self.unshown = max(0, self.unshown - max(0, int(order["bytes"])))
            self.shown.set()
        elif kind == "resize":
            size = _cells(order["columns"]), _cells(order["rows"])
            self.input.size(*size)
            self.keeping.resized(*size)
        elif kind == "ping":
            await self._say("pong")
        elif kind == "seen":
            self.seen.set()
        elif kind == "end":
            await self._end("ended by its user", Ending.CLOSED)
        else:
            raise ValueError(kind)

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        self.closing = code
        await super().close(code, reason)

    async def cut_off(self, code: int) -> None:
        """A browser that reads nothing may put off the close as long as it likes: not the end of the shell."""
        self.stopping = asyncio.create_task(self._stop())  # not part of this task: that ends when the socket does
        await self.close(code)

    async def _stop(self) -> None:
        await self.end_relay()
        try:
            if self.held:
                await self._end("ended: the right to it ended", Ending.RIGHT)
        except (DatabaseError, TerminalError) as exc:
            log.warning("terminal %s of %s was left as it is: %s", self.ident, self.container, exc)

    async def closed(self) -> None:
        if self.relay is None:
            return
        if self.stopping is not None:
            await asyncio.gather(self.stopping, return_exceptions=True)
        await self.end_relay()
        try:
            if not self.held:
                # Another window took it over, or the browser went before it knew of the shell's end.
                await self._audit("let go", last=True)
            elif self.closing in RIGHT_ENDED or await self._right_is_gone():
                await self._end("ended: the right to it ended", Ending.RIGHT)
            elif left := await self._audit("left; the shell goes on for ten minutes", last=True):
                await in_thread(self._settle_later, left)
        except (DatabaseError, TerminalError) as exc:
            log.warning("terminal %s of %s was left as it is: %s", self.ident, self.container, exc)

    def _settle_later(self, left: AuditEntry) -> None:
        """Nobody of ours is there when the agent ends an abandoned shell: a task looks, and writes it down."""
        arguments = (left.pk, self.container.host_id, self.ident)
        try:
            settle_terminal.apply_async(arguments, countdown=SETTLE_SECONDS, retry=False)
        except OperationalError as exc:
            log.warning("the end of terminal %s will not be written down: %s", self.ident, exc)

    async def _right_is_gone(self) -> bool:
        """Somebody who signs out leaves the page in the same moment: ask once more."""
        alive = await in_thread(self._session_alive)
        return not alive or await self._refusal() is not None

    # --- The relay: from the first byte to the end ---

    async def _serve(self) -> None:
        """Open or join the shell and carry its bytes until one side ends; say why in the close code."""
        try:
            async with Terminals(self.container.host) as terminals:
                try:
                    await self._join(terminals)
                finally:
                    # Before a word to this browser, which may be gone: another page of its waits for the recording.
                    await self.keeping.leave(is_gone=self.held)
        except NotHeld as exc:
            self.held = False
            await self.keeping.end(Ending.LOST)
            await self._say_and_close("gone", exc, NOT_THERE)
        except Unrecorded as exc:
            await self._end("ended: it could not be recorded", Ending.FAILED)
            await self._say_and_close("refused", exc, REFUSED, state=await self._state())
        except HostAway as exc:
            await self._say_and_close("away", exc, AWAY, since=await self._away_since())
        except TerminalError as exc:
            await self._say_and_close("refused", exc, REFUSED, state=await self._state())
        except OSError:
            log.debug("terminal %s: the browser has gone", self.ident)
        except Exception:
            log.exception("terminal %s", self.ident)
            await self.close(BROKEN)

    async def _join(self, terminals: Terminals) -> None:
        opened, refusal = "", None
        if self.offset is None:
            try:
                opened = await self._open(terminals)
            except TerminalError as exc:
                # 409: the container does not run, or this session has a shell already. Joining tells.
                if exc.status != 409:
                    raise
                refusal = exc
        self.wanted = await self.keeping.wanted(*self._whose(), self.offset or 0)
        try:
            async with terminals.attached(self.ident, self.wanted) as agent:
                self.held = True
                if not opened:
                    await self._audit("returned to the shell")
                await self._say("ready", opened=opened)
                await self._carry(terminals, agent)
        except NotHeld:
            if refusal is not None:
                raise refusal from None
            raise

    async def _open(self, terminals: Terminals) -> str:
        """Start the shell and write down who did; without that entry there is no shell. What was opened, in words."""
        await self._keep_to_rules()
        command = await terminals.open(self.ident, self.order)
        try:
            what = shlex.join(self.order.command) if self.order.command else "a shell"
            user = f" as {self.order.user}" if self.order.user else ""
            await self._audit(f"opened {what}{user}")
            await self.keeping.begin(*self._whose(), command)
        except BaseException:
            await terminals.end(self.ident)
            raise
        return what

    def _whose(self) -> tuple[User, Container, str, Order]:
        return self.scope["user"], self.container, self.ident, self.order

    async def _keep_to_rules(self) -> None:
        """Raise TerminalError, and write it down, when rules of the environment allow no shell in this container."""
        try:
            await require_shell(self.container, self.order.user)
        except RulesBroken as exc:
            said = {"detail": exc.told, **about(self.container)}
            await in_thread(refusals.refused, self.scope["user"], "container.exec", **said)
            raise TerminalError(exc.message, exc.hint, exc.status) from exc

    async def _carry(self, terminals: Terminals, agent: aiohttp.ClientWebSocketResponse) -> None:
        keys = asyncio.create_task(self._to_agent(agent))
        try:
            exit_message = await self._until_over(agent)
        finally:
            keys.cancel()
            await asyncio.gather(keys, return_exceptions=True)
        self.held = False
        if exit_message is None:
            await self.keeping.leave(is_gone=False)  # before the close: another page waits for the recording
            await self.close(TAKEN_OVER)
            return
        await self.keeping.end(self.ending or ENDINGS.get(exit_message["reason"], Ending.LOST), exit_message["code"])
        if self.ending is Ending.FAILED:
            return  # who ended it so says why, and closes
        await self._say("exit", **exit_message, state=await self._state())
        # Held until the browser has it: one that dropped off just now comes back and is told then.
        try:
            await asyncio.wait_for(self.seen.wait(), SEEN_SECONDS)
        except TimeoutError:
            return
        if await terminals.end(self.ident):
            await self._audit(_ending(exit_message), last=True)
        await self.close(1000)

    async def _until_over(self, agent: aiohttp.ClientWebSocketResponse) -> dict[str, Any] | None:
        """As `_to_browser`, which may stand still in output for a browser that is gone when another takes over."""
        output = asyncio.create_task(self._to_browser(agent))
        succeeded = asyncio.create_task(self.keeping.succeeded.wait())
        try:
            await asyncio.wait((output, succeeded), return_when=asyncio.FIRST_COMPLETED)
            return output.result() if output.done() else None
        finally:
            output.cancel()
            succeeded.cancel()
            await asyncio.gather(output, succeeded, return_exceptions=True)

    async def _to_browser(self, agent: aiohttp.ClientWebSocketResponse) -> dict[str, Any] | None:
        """Output, as far as it is being shown. The exit message, or None when another took the terminal over."""
        shown = self.offset or 0  # bytes of output the browser has
        position = 0  # of what the agent sends next, which the recording may need from before
        while True:
            message = await agent.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                self.keeping.output(position, message.data)
                await self.keeping.room()
                fresh = message.data[max(0, shown - position) :]
                position += len(message.data)
                if not fresh:
                    continue
                while self.unshown >= OUTPUT_WINDOW:
                    self.shown.clear()
                    await self.shown.wait()
                self.unshown += len(fresh)
                await self.send(bytes_data=fresh)
            elif message.type is aiohttp.WSMsgType.TEXT:
                control = json.loads(message.data)
                if control["type"] == "exit":
                    return {"code": control["code"], "reason": control["reason"]}
                if control["type"] == "replay":
                    position = control["from"]
                    if not self.wanted <= position <= shown:  # the agent has not what was asked for
                        shown = position
                    await self.keeping.join(position)
                    await self._say("replay", **{"from": shown, "to": max(shown, control.get("to", shown))})
            elif agent.close_code == TAKEN_OVER:
                return None
            else:
                raise HostAway(f"Contact with {self.container.host.name} was lost.", "", 503)

    async def _to_agent(self, agent: aiohttp.ClientWebSocketResponse) -> None:
        """Keys and sizes, in their order, at the pace of the shell."""
        took = 0
        try:
            while True:
                item = await self.input.next()
                if isinstance(item, tuple):
                    columns, rows = item
                    await agent.send_json({"type": "resize", "columns": columns, "rows": rows})
                    continue
                await agent.send_bytes(item)
                self.keeping.typed(item)
                self.input.took(item)
                took += len(item)
                if took >= TOOK_EVERY:
                    await self._say("took", bytes=took)
                    took = 0
        except (aiohttp.ClientError, OSError) as exc:
            log.debug("terminal %s: keys: %s", self.ident, exc)  # the reading side finds the same and says so

    async def _end(self, why: str, ending: Ending) -> None:
        """End the shell on its host. While that is out of contact the shell goes on, and with it its recording."""
        was_held, self.held = self.held, False
        self.ending = ending
        async with Terminals(self.container.host) as terminals:
            try:
                ended = await terminals.end(self.ident)
            except HostAway as exc:
                log.warning("terminal %s could not be ended: %s", self.ident, exc)
                self.held = was_held
                return
        await self.keeping.end(ending)
        if ended:
            await self._audit(why, last=True)

    async def _forbid(self, words: str) -> None:
        """The recording had to stop, and the settings allow no shell without one."""
        await self._end(f"ended: it could not be recorded any more: {words}", Ending.FAILED)
        why = TerminalError(f"The shell was closed, as it could not be recorded any more: {words}.")
        await self._say_and_close("refused", why, REFUSED, state=await self._state())

    # --- What the browser and the audit trail are told ---

    async def _say(self, kind: str, **fields: Any) -> None:
        await self.send(json.dumps({"type": kind, **fields}))

    async def _say_and_close(self, kind: str, exc: GantryError, code: int, **fields: Any) -> None:
        try:
            await self._say(kind, message=exc.message, hint=exc.hint, **fields)
            await self.close(code)
        except OSError:
            log.debug("the browser has gone before it was told: %s", exc)

    async def _state(self) -> str:
        """The container's state in the mirror, for what the page offers next."""
        return await in_thread(self._read_container, "state")

    async def _away_since(self) -> str:
        return await in_thread(self._read_container, "since")

    def _read_container(self, what: str) -> str:
        found = Container.objects.select_related("host").filter(pk=self.container.pk).first()
        if what == "state":
            return found.shown_state if found else "removed"
        away: datetime = timezone.now()
        if found is not None and not found.host.is_connected:
            away = found.host.state_since
        return away.isoformat()

    async def _audit(self, detail: str, *, last: bool = False) -> AuditEntry | None:
        """An entry at the beginning or, `last`, at the end of what this browser saw of the shell."""
        detail = f"{detail} (terminal {self.ident[:8]})"
        return await self.reading.ended(detail) if last else await self.reading.began(detail)


def _cells(value: Any) -> int:
    """A width or height in characters. Raises ValueError."""
    size = int(value)
    if not 1 <= size <= 1000:
        raise ValueError(f"expected 1 to 1000 columns or rows, found {size}")
    return size


def _ending(exit_message: dict[str, Any]) -> str:
    code = exit_message["code"]
    if exit_message["reason"] != "exited":
        return f"ended: {exit_message['reason']}"
    return f"ended with exit code {code}" if code is not None else "ended"

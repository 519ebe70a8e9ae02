#!/usr/bin/env python3
"""A TCP proxy that makes a server far away: every round trip takes longer by a given time, the bandwidth stays.

    delay.py --to HOST:PORT --ms 50 [--listen PORT]

Half the time is added each way, and a new connection waits a whole round trip before its first byte, as a handshake would make it.
It prints the port on which it listens on 127.0.0.1 and runs until it is killed, or until its standard input ends. No packet loss,
no slow start, no shared bottleneck: a network with these is worse than this.
"""
import argparse, asyncio, collections, contextlib, sys

# What may be under way in one direction; a window for 1 GB/s at 100 ms. Beyond it the sender waits, as TCP would have it.
UNDER_WAY_MAX = 64 << 20


class Line(asyncio.Protocol):
    """One direction's receiving end: what comes in leaves on the other side after the delay, in order."""

    def __init__(self, loop, delay):
        self.loop, self.delay, self.other = loop, delay, None
        self.queue, self.bytes, self.timer, self.transport, self.ready = collections.deque(), 0, None, None, 0.0
        self.blocked = self.held = False

    def connection_made(self, transport):
        self.transport = transport
        self.loop.call_soon(self.flush)

    def data_received(self, data):
        self.queue.append((max(self.loop.time() + self.delay, self.other.ready), data))
        self.bytes += len(data)
        self.settle()
        self.arm()

    def eof_received(self):
        self.queue.append((max(self.loop.time() + self.delay, self.other.ready), None))
        self.arm()
        return True  # the other direction goes on

    def connection_lost(self, _):
        # A broken connection is news that travels as far as data does.
        self.queue.append((max(self.loop.time() + self.delay, self.other.ready), False))
        self.arm()
        # What was still on its way to here arrives nowhere.
        self.other.queue.clear()
        self.other.bytes = 0

    def arm(self):
        if self.timer is None and self.queue and not self.blocked:
            self.timer = self.loop.call_at(self.queue[0][0], self.flush)

    def flush(self):
        self.timer = None
        out = self.other.transport
        if out is None:
            return  # connecting; its connection_made comes back here
        # The loop may wake a little early, by its clock's resolution.
        now = self.loop.time() + 0.0005
        while self.queue and not self.blocked and self.queue[0][0] <= now:
            _, data = self.queue.popleft()
            if data:
                self.bytes -= len(data)
                if not out.is_closing():
                    out.write(data)
            elif data is None and not out.is_closing():
                with contextlib.suppress(OSError):  # the peer is gone already
                    out.write_eof()
            elif data is False:
                out.close()
        self.settle()
        self.arm()

    # Called for what this side sends: the line that feeds it is the other one.
    def pause_writing(self):
        self.other.blocked = True

    def resume_writing(self):
        self.other.blocked = False
        self.other.flush()

    def settle(self):
        full = self.bytes > UNDER_WAY_MAX
        if full != self.held and self.transport is not None and not self.transport.is_closing():
            self.held = full
            (self.transport.pause_reading if full else self.transport.resume_reading)()


async def serve(host, port, delay, listen):
    loop = asyncio.get_running_loop()
    tasks = set()

    def accept():
        near, far = Line(loop, delay / 2), Line(loop, delay / 2)
        near.other, far.other = far, near
        # The peer's first byte may arrive when the handshake would be over, not before.
        far.ready = loop.time() + delay * 1.5

        async def connect():
            try:
                await loop.create_connection(lambda: far, host, port)
                near.flush()
            except OSError as e:
                print(f'delay.py: {host}:{port}: {e}', file=sys.stderr)
                near.transport.abort()

        task = loop.create_task(connect())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return near

    server = await loop.create_server(accept, '127.0.0.1', listen, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await loop.run_in_executor(None, sys.stdin.buffer.read)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--to', required=True, metavar='HOST:PORT')
    parser.add_argument('--ms', type=float, required=True)
    parser.add_argument('--listen', type=int, default=0, metavar='PORT')
    given = parser.parse_args()
    host, _, port = given.to.rpartition(':')
    asyncio.run(serve(host, int(port), given.ms / 1000, given.listen))


if __name__ == '__main__':
    main()

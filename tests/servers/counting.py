"""A proxy that reads HTTP/1.1 between a client and an S3 server: it notes every request with its times and bytes, can make the way
longer, and tells whoever watches how far a request has come, so that a client can be killed at that moment. For drill.py; plain HTTP.
"""
import collections, select, socket, threading, time, urllib.parse

# How far a request can be: its head is here and nothing passed on, half of its body is, all of it is, the answer is here and nothing
# of it passed on.
PHASES = ('begun', 'half', 'sent', 'answered')
HEAD_MAX = 64 << 10
SLICE = 256 << 10


class Request:
    """One request as the proxy saw it. `up` and `down` are lengths of bodies."""

    def __init__(self, number, method, target):
        parts = urllib.parse.urlsplit(target)
        query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
        self.number, self.method, self.status, self.range = number, method, None, ''
        self.began, self.ended, self.up, self.down = time.monotonic(), None, 0, 0
        self.key = urllib.parse.unquote(parts.path).lstrip('/').partition('/')[2]
        if method == 'GET' and 'list-type' in query:
            self.method, self.key = 'LIST', query.get('prefix', [''])[0]
            self.page = 'continuation-token' in query

    def kind(self, prefix):
        """Method and class, such as `PUT data/`; `prefix` is where the repository is in its bucket."""
        name = self.key.removeprefix(prefix).lstrip('/')
        folder, slash, _ = name.partition('/')
        return f'{self.method} {folder}{slash}' if name else f'{self.method} (all)'


class Broken(Exception):
    """The connection is of no more use."""


class Stream:
    """A socket that is read by heads and lengths."""

    def __init__(self, sock):
        self.sock, self.rest = sock, b''
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def more(self):
        data = self.sock.recv(SLICE)
        if not data:
            raise Broken('closed')
        self.rest += data

    def head(self):
        """A head with its blank line."""
        while b'\r\n\r\n' not in self.rest:
            if len(self.rest) > HEAD_MAX:
                raise Broken('a head without end')
            self.more()
        head, _, self.rest = self.rest.partition(b'\r\n\r\n')
        return head + b'\r\n\r\n'

    def some(self, most):
        if not self.rest:
            self.more()
        data, self.rest = self.rest[:most], self.rest[most:]
        return data

    def line(self):
        while b'\r\n' not in self.rest:
            self.more()
        line, _, self.rest = self.rest.partition(b'\r\n')
        return line


def fields(head):
    """Of a head the first line and the headers, names in lower case."""
    first, *lines = head.decode('latin-1').rstrip('\r\n').split('\r\n')
    return first, {k.strip().lower(): v.strip() for k, _, v in (line.partition(':') for line in lines)}


class Proxy:
    """Listens on a port of 127.0.0.1. `requests` is what it saw; `hold` seconds later each request reaches the server. `watch`, where
    set, is called with a request and its phase by the thread that carries it; if it says True, both ends are closed there and then."""

    def __init__(self, host, port, hold=0.0):
        self.to, self.hold, self.watch, self.requests, self.lock = (host, port), hold, None, [], threading.Lock()
        self.under_way = 0
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self):
        """Forgets the requests so far, and hands them out."""
        with self.lock:
            seen, self.requests = self.requests, []
        return seen

    def quiet(self, seconds):
        """Waits until nothing is under way; a server may be busy with what a client sent before it was killed."""
        deadline = time.monotonic() + seconds
        while self.under_way and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.under_way

    def stop(self):
        self.listener.close()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(sock,), daemon=True).start()

    def carry(self, sock):
        far = None
        try:
            near = Stream(sock)
            while True:
                head = near.head()
                line, headers = fields(head)
                with self.lock:
                    request = Request(len(self.requests) + 1, *line.split(' ')[:2])
                    request.range = headers.get('range', '').removeprefix('bytes=')
                    self.requests.append(request)
                    self.under_way += 1
                try:
                    self.tell(request, 'begun')
                    if self.hold:
                        time.sleep(self.hold)
                    far = far or Stream(socket.create_connection(self.to, timeout=None))
                    far.sock.sendall(head)
                    self.one(near, far, request, headers)
                finally:
                    # One that broke off has an end too.
                    request.ended = request.ended or time.monotonic()
                    with self.lock:
                        self.under_way -= 1
        except (Broken, OSError, ValueError):
            pass
        finally:
            for end in (sock, far and far.sock):
                if end:
                    end.close()

    def tell(self, request, phase):
        if self.watch and self.watch(request, phase):
            raise Broken('dropped')

    def one(self, near, far, request, headers):
        """Carries the body to the server and its answer back."""
        if 'chunked' in headers.get('transfer-encoding', ''):
            raise Broken('a request in chunks is not expected')
        length = int(headers.get('content-length', 0))
        left, half = length, False
        while left:
            if not near.rest:
                # The server may speak first: to ask for the body, or to refuse it.
                ready, _, _ = select.select([near.sock, far.sock], [], [])
                if far.sock in ready and self.interim(near, far):
                    break
                if near.sock not in ready:
                    continue
            data = near.some(left)
            far.sock.sendall(data)
            left -= len(data)
            request.up += len(data)
            if not half and left <= length // 2:
                half = True
                self.tell(request, 'half')
        if not length:
            self.tell(request, 'half')
        self.tell(request, 'sent')
        self.answer(near, far, request)
        if left:
            raise Broken('refused before all of it was sent')

    @staticmethod
    def interim(near, far):
        """Passes on a `100 Continue`; True where the head that came is the last one, which is put back."""
        head = far.head()
        if head.startswith(b'HTTP/1.1 1'):
            near.sock.sendall(head)
            return False
        far.rest = head + far.rest
        return True

    def answer(self, near, far, request):
        head = far.head()
        while head.startswith(b'HTTP/1.1 1'):
            near.sock.sendall(head)
            head = far.head()
        self.tell(request, 'answered')
        line, headers = fields(head)
        request.status = int(line.split(' ')[1])
        near.sock.sendall(head)
        if request.method != 'HEAD' and request.status not in (204, 304):
            self.body(near, far, request, headers)
        request.ended = time.monotonic()
        if headers.get('connection', '').lower() == 'close':
            raise Broken('the server closes')

    def body(self, near, far, request, headers):
        if 'chunked' in headers.get('transfer-encoding', ''):
            while True:
                line = far.line()
                near.sock.sendall(line + b'\r\n')
                size = int(line.partition(b';')[0], 16)
                self.copy(near, far, size, request)
                # After the last chunk: trailers, of which these servers send none, and a blank line.
                near.sock.sendall(far.line() + b'\r\n')
                if not size:
                    return
        if 'content-length' not in headers:
            raise Broken('an answer without length')
        self.copy(near, far, int(headers['content-length']), request)

    @staticmethod
    def copy(near, far, length, request):
        while length:
            data = far.some(length)
            near.sock.sendall(data)
            length -= len(data)
            request.down += len(data)


def depth(requests):
    """Length of the longest chain of requests each of which began when the one before had ended."""
    count, free = 0, 0.0
    for request in sorted(requests, key=lambda r: r.ended):
        if request.began >= free:
            count, free = count + 1, request.ended
    return count


def outside_upload(requests, prefix):
    """The requests that are not wholly within the time from the first pack's PUT to the end of the last segment's: by the protocol (B2)
    a segment follows the packs that it names, in the same stream."""
    packs = [r for r in requests if r.kind(prefix) in ('PUT data/', 'PUT names/', 'PUT lists/', 'PUT index/')]
    if not packs:
        return list(requests)
    first, last = min(r.began for r in packs), max(r.ended for r in packs)
    return [r for r in requests if r.began < first or r.ended > last]


def fetched_again(requests):
    """Bytes that answers brought more than once."""
    spans, twice = collections.defaultdict(list), 0
    for r in requests:
        start = r.range.partition('-')[0]
        if r.method == 'GET' and start and r.status in (200, 206):
            spans[r.key].append((int(start), int(start) + r.down))
    for of_key in spans.values():
        end = 0
        for start, stop in sorted(of_key):
            twice += max(0, min(end, stop) - start)
            end = max(end, stop)
    return twice

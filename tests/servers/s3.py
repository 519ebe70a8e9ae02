#!/usr/bin/env python3
"""A small S3 client, independent of Seabed's: it asks servers whether they answer, and finds out how they behave.

    s3.py s3:http://HOST:PORT/BUCKET[/PREFIX] create | health | put KEY [FILE] | get KEY | head KEY | list [PREFIX] | delete KEY | probe

Keys come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION. `probe` prints one line a question and always exits 0:
its answers are findings. Every other command exits 1 when the server refuses. It knows path-style addresses and plain HTTP only.
"""
import argparse, base64, datetime, hashlib, hmac, http.client, os, secrets, socket, sys, time, urllib.parse
import xml.etree.ElementTree as xml

EMPTY = hashlib.sha256(b'').hexdigest()
UNSIGNED = 'UNSIGNED-PAYLOAD'
STREAMING = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, {k.lower(): v for k, v in headers}, body

    @property
    def code(self):
        """S3's word for an error, or nothing."""
        try:
            found = xml.fromstring(self.body).find('{*}Code') if self.status >= 300 else None
        except xml.ParseError:
            found = None
        return '' if found is None else found.text or ''

    def __str__(self):
        return f'{self.status} {self.code}'.strip()

    @property
    def ok(self):
        return 200 <= self.status < 300


class S3:
    def __init__(self, url, key=None, secret=None, region=None):
        parts = urllib.parse.urlsplit(url.removeprefix('s3:'))
        if parts.scheme != 'http' or not parts.hostname or not parts.path.strip('/'):
            raise SystemExit(f's3.py: {url}: s3:http://HOST:PORT/BUCKET[/PREFIX] is expected')
        self.address = (parts.hostname, parts.port or 80)
        self.bucket, _, prefix = parts.path.strip('/').partition('/')
        self.prefix = prefix + '/' if prefix else ''
        self.key = key or os.environ['AWS_ACCESS_KEY_ID']
        self.secret = secret or os.environ['AWS_SECRET_ACCESS_KEY']
        self.region = region or os.environ.get('AWS_REGION') or 'us-east-1'
        self.timeout = 30

    def sign(self, method, key, query, headers, payload, at=None, bucket=None):
        """Path and headers of a signed request."""
        at = at or datetime.datetime.now(datetime.timezone.utc)
        stamp, day = at.strftime('%Y%m%dT%H%M%SZ'), at.strftime('%Y%m%d')
        path = '/' + (bucket or self.bucket) + ('/' + urllib.parse.quote(key, safe='-_.~/') if key else '')
        text = '&'.join(f'{urllib.parse.quote(k, safe="-_.~")}={urllib.parse.quote(str(v), safe="-_.~")}' for k, v in sorted(query.items()))
        headers = {k.lower(): v for k, v in headers.items()}
        headers |= {'host': '{}:{}'.format(*self.address), 'x-amz-date': stamp, 'x-amz-content-sha256': payload}
        signed = sorted(k for k in headers if k in ('host', 'content-md5') or k.startswith('x-amz-'))
        canonical = '\n'.join([method, path, text, *(f'{k}:{headers[k].strip()}' for k in signed), '', ';'.join(signed), payload])
        scope = f'{day}/{self.region}/s3/aws4_request'
        key_bytes = ('AWS4' + self.secret).encode()
        for part in (day, self.region, 's3', 'aws4_request'):
            key_bytes = hmac.digest(key_bytes, part.encode(), 'sha256')
        to_sign = f'AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}'
        signature = hmac.digest(key_bytes, to_sign.encode(), 'sha256').hex()
        headers['authorization'] = f'AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={";".join(signed)}, Signature={signature}'
        return path + ('?' + text if text else ''), headers

    def ask(self, method, key='', query=None, headers=None, body=None, payload=None, at=None, bucket=None, connection=None):
        if payload is None:
            payload = hashlib.sha256(body).hexdigest() if body else EMPTY
        path, headers = self.sign(method, self.prefix + key if key else '', query or {}, headers or {}, payload, at, bucket)
        own = connection or http.client.HTTPConnection(*self.address, timeout=self.timeout)
        try:
            own.request(method, path, body=body, headers=headers)
            response = own.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            if connection is None:
                own.close()

    def put(self, key, body=b'', headers=None, **more):
        return self.ask('PUT', key, headers=headers, body=body, **more)

    def get(self, key, headers=None, **more):
        return self.ask('GET', key, headers=headers, **more)

    def page(self, **query):
        """One page of a listing: keys without our prefix, common prefixes, the answer, its tree."""
        query = {k.replace('_', '-'): v for k, v in query.items()}
        if 'prefix' in query or self.prefix:
            query['prefix'] = self.prefix + query.get('prefix', '')
        answer = self.ask('GET', query=query)
        if not answer.ok:
            return None, None, answer, None
        tree = xml.fromstring(answer.body)
        keys = [e.findtext('{*}Key') for e in tree.findall('{*}Contents')]
        if query.get('encoding-type') == 'url':
            keys = [urllib.parse.unquote_plus(k) for k in keys]
        common = [e.findtext('{*}Prefix') for e in tree.findall('{*}CommonPrefixes')]
        cut = len(self.prefix)
        return [k[cut:] for k in keys], [c[cut:] for c in common], answer, tree

    def list(self, prefix='', **query):
        """All keys, page by page, and how long the pages were."""
        found, pages, query = [], [], {'list_type': 2, 'prefix': prefix} | query
        while True:
            keys, _, answer, tree = self.page(**query)
            if keys is None:
                raise SystemExit(f's3.py: list {prefix!r}: {answer}')
            found += keys
            pages.append(len(keys))
            if tree.findtext('{*}IsTruncated') != 'true':
                return found, pages
            token = tree.findtext('{*}NextContinuationToken')
            if not token or len(pages) > 10_000:
                raise SystemExit(f's3.py: list {prefix!r}: truncated, and no way on')
            query['continuation_token'] = token


def health(s3):
    """Stores, finds, reads and deletes one object, in a new bucket if there is none; says what failed."""
    s3.timeout = 10  # asking again tells more than waiting
    key, body = 'health-' + secrets.token_hex(8), secrets.token_bytes(1000)
    answer = s3.put(key, body)
    if answer.code == 'NoSuchBucket':
        s3.ask('PUT')
        answer = s3.put(key, body)
    if not answer.ok:
        return f'put: {answer}'
    answer = s3.get(key)
    if not answer.ok or answer.body != body:
        return f'get: {answer}, {len(answer.body)} bytes'
    if s3.list(key)[0] != [key]:
        return 'list: the object is not in it'
    answer = s3.ask('DELETE', key)
    if not answer.ok:
        return f'delete: {answer}'
    return None


def crc64nvme(data):
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFFFFFFFFFF


def b64(data):
    return base64.b64encode(data).decode()


class Probe:
    """Questions to a server, each with objects of its own below one fresh prefix."""

    def __init__(self, s3):
        self.s3, self.n = s3, 0
        self.s3.prefix += f'probe-{secrets.token_hex(4)}/'

    def say(self, what, answer):
        print(f'{what:<52} {answer}', flush=True)

    def key(self):
        self.n += 1
        return f'o{self.n}'

    def stored(self, key, expected):
        """What is under a key, in a word."""
        answer = self.s3.get(key)
        if answer.status == 404:
            return 'nothing stored'
        if not answer.ok:
            return f'GET then says {answer}'
        return 'stored' if answer.body == expected else f'stored differently ({len(answer.body)} bytes of {len(expected)})'

    def put_with(self, what, headers, body=b'body ' * 50, **more):
        key = self.key()
        answer = self.s3.put(key, body, headers, **more)
        self.say(what, f'{answer}, {self.stored(key, body)}')
        return key

    def run(self):
        for name in ('buckets', 'overwriting', 'conditions', 'integrity', 'trailers', 'listing', 'names', 'dates', 'classes',
                     'ranges', 'missing', 'signatures', 'connections', 'broken_off', 'batch'):
            try:
                getattr(self, name)()
            except Exception as e:  # a server that hangs up has answered one question, not all
                self.say(name, f'{type(e).__name__}: {e}')
        for key in self.s3.list()[0]:
            self.s3.ask('DELETE', key)

    def buckets(self):
        self.say('create a bucket that is there', self.s3.ask('PUT'))
        self.say('HEAD of the bucket', self.s3.ask('HEAD'))
        self.say('GET ?location', self.s3.ask('GET', query={'location': ''}))
        self.say('GET ?versioning', self.s3.ask('GET', query={'versioning': ''}))
        self.say('GET ?object-lock', self.s3.ask('GET', query={'object-lock': ''}))

    def overwriting(self):
        key = self.key()
        first, second = self.s3.put(key, b'first'), self.s3.put(key, b'second')
        self.say('PUT over an existing object', f'{first} then {second}, {self.stored(key, b"second")}')
        etag = second.headers.get('etag')
        kind = 'MD5' if etag == f'"{hashlib.md5(b"second").hexdigest()}"' else f'not the MD5: {etag}'
        same = 'same' if self.s3.ask('HEAD', key).headers.get('etag') == etag else 'other'
        self.say('ETag of a PUT', f'{kind}; {same} from HEAD')
        key = self.key()
        answer = self.s3.put(key)
        self.say('PUT of nothing', f'{answer}, {self.stored(key, b"")}')

    def conditions(self):
        self.put_with('PUT If-None-Match: *, new name', {'if-none-match': '*'})
        key = self.key()
        self.s3.put(key, b'old')
        answer = self.s3.put(key, b'new', {'if-none-match': '*'})
        self.say('PUT If-None-Match: *, existing object', f'{answer}, {"kept" if self.s3.get(key).body == b"old" else "OVERWRITTEN"}')
        self.s3.put(key, b'old')
        answer = self.s3.put(key, b'new', {'if-match': '"00000000000000000000000000000000"'})
        self.say('PUT If-Match: another ETag', f'{answer}, {"kept" if self.s3.get(key).body == b"old" else "OVERWRITTEN"}')
        etag = self.s3.put(key, b'old').headers.get('etag', '')
        self.say('GET If-Match: another ETag', self.s3.get(key, {'if-match': '"00000000000000000000000000000000"'}))
        self.say('GET If-None-Match: its ETag', self.s3.get(key, {'if-none-match': etag}))

    def integrity(self):
        body = b'body ' * 50
        self.put_with('PUT right Content-MD5', {'content-md5': b64(hashlib.md5(body).digest())})
        self.put_with('PUT wrong Content-MD5', {'content-md5': b64(hashlib.md5(b'x').digest())})
        self.put_with('PUT wrong x-amz-content-sha256', {}, payload=hashlib.sha256(b'x').hexdigest())
        self.put_with('PUT UNSIGNED-PAYLOAD', {}, payload=UNSIGNED)
        for name, of in (('sha256', lambda d: hashlib.sha256(d).digest()), ('crc64nvme', lambda d: crc64nvme(d).to_bytes(8, 'big'))):
            header = f'x-amz-checksum-{name}'
            key = self.put_with(f'PUT right {header}', {header: b64(of(body))})
            self.say('— told back by HEAD', self.told(key, header, b64(of(body))))
            key = self.put_with(f'PUT wrong {header}', {header: b64(of(b'x'))})
            if self.s3.get(key).ok:
                self.say('— told back by HEAD', self.told(key, header, b64(of(body))))

    def told(self, key, header, right):
        told = self.s3.ask('HEAD', key, headers={'x-amz-checksum-mode': 'ENABLED'}).headers.get(header)
        return 'no' if told is None else 'yes' if told == right else 'yes, the WRONG one'

    def trailers(self):
        """The newer SDKs' default: a body in aws-chunked with its checksum behind it."""
        body = b'body ' * 50
        for what, of in (('right', body), ('wrong', b'x')):
            sum = b64(hashlib.sha256(of).digest())
            framed = b'%x\r\n%s\r\n0\r\nx-amz-checksum-sha256:%s\r\n\r\n' % (len(body), body, sum.encode())
            headers = {'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': str(len(body)), 'x-amz-trailer': 'x-amz-checksum-sha256'}
            key = self.key()
            answer = self.s3.put(key, framed, headers, payload=STREAMING)
            self.say(f'PUT aws-chunked, {what} trailing checksum', f'{answer}, {self.stored(key, body)}')

    def listing(self):
        # Byte order puts '-' and '.' before '/', capitals before small letters, and what is not ASCII last.
        names = ['l/a-b', 'l/a.b', 'l/a/2', 'l/a/10', 'l/a/1/x', 'l/B', 'l/b', 'l/ab', 'l/é', 'l/z']
        for name in names:
            self.s3.put(name, b'x')
        found, _ = self.s3.list('l/')
        order = 'bytes' if found == sorted(names, key=str.encode) else 'complete, not in byte order' if sorted(found) == sorted(names) else f'WRONG: {found}'
        self.say('list order', order if order == 'bytes' else f'{order}: {found}')
        for size in (1, 3):
            found, pages = self.s3.list('l/', max_keys=size)
            whole = 'complete' if sorted(found) == sorted(names) and len(set(found)) == len(found) else f'WRONG: {found}'
            self.say(f'list with max-keys={size}', f'{whole}, pages of {max(pages)}' + ('' if max(pages) <= size else ' (IGNORED)'))
        keys, _, answer, _ = self.page_of(start_after=self.s3.prefix + 'l/ab')
        self.say('list start-after', 'honoured' if keys == [n for n in sorted(names, key=str.encode) if n > 'l/ab'] else f'{answer}: {keys}')
        keys, common, answer, _ = self.page_of(delimiter='/')
        right = keys == [n for n in sorted(names, key=str.encode) if '/' not in n[2:]] and common == ['l/a/']
        self.say('list delimiter=/', 'right' if right else f'{answer}: {keys} {common}')
        keys, _, answer, _ = self.page_of(encoding_type='url')
        self.say('list encoding-type=url', 'right' if keys and sorted(keys) == sorted(names) else f'{answer}: {keys}')
        keys, _, answer, _ = self.page_of(prefix='l/a')
        self.say('list with a prefix inside a name', 'right' if keys == [n for n in sorted(names, key=str.encode) if n.startswith('l/a')] else f'{answer}: {keys}')
        keys, _, answer, _ = self.s3.page(prefix='l/')
        self.say('list, version 1', 'right' if keys and sorted(keys) == sorted(names) else f'{answer}: {keys}')
        keys, _, answer, _ = self.page_of(prefix='none/')
        self.say('list of nothing', 'right' if keys == [] else f'{answer}: {keys}')
        _, _, _, tree = self.page_of()
        entry = tree.find('{*}Contents')
        self.say('— fields of an entry', ' '.join(f'{e.tag.split("}")[-1]}={e.text}' for e in entry if len(e) == 0))
        many = 1003
        connection = http.client.HTTPConnection(*self.s3.address, timeout=30)
        for n in range(many):
            self.s3.put(f'm/{n:04}', b'', connection=connection)
        found, pages = self.s3.list('m/')
        self.say(f'list of {many:,} objects', f'{"complete" if found == [f"m/{n:04}" for n in range(many)] else "WRONG"}, pages of {pages}')
        seen = gone = 0
        for n in range(50):
            self.s3.put(f'w/{n}', b'')
            seen += f'w/{n}' in self.s3.list('w/')[0]
            self.s3.ask('DELETE', f'w/{n}')
            gone += f'w/{n}' not in self.s3.list('w/')[0]
        self.say('list right after a PUT, after a DELETE', f'{seen} of 50, {gone} of 50')

    def page_of(self, **query):
        return self.s3.page(**{'list_type': 2, 'prefix': 'l/'} | query)

    def names(self):
        for what, name in (('space + % &', 'n/a b+c%d&e'), ('not ASCII', 'n/é漢'), ('900 bytes', 'n/' + '/'.join(c * 223 for c in 'wxyz'))):
            answer = self.s3.put(name, b'x')
            listed = name in self.s3.list('n/')[0] if answer.ok else False
            self.say(f'name: {what}', f'{answer}, {self.stored(name, b"x")}, {"listed" if listed else "not listed"}')
        first, second = self.s3.put('p', b'1'), self.s3.put('p/q', b'2')
        self.say('names p and p/q', f'{first}, {second}; {self.stored("p", b"1")}, {self.stored("p/q", b"2")}')

    def dates(self):
        key = self.key()
        answers = {'PUT': self.s3.put(key, b'x'), 'GET': self.s3.get(key), 'HEAD': self.s3.ask('HEAD', key), 'list': self.page_of()[2],
                   '404': self.s3.get('none'), 'DELETE': self.s3.ask('DELETE', key)}
        lacking = [name for name, a in answers.items() if 'date' not in a.headers]
        self.say('Date header', 'always' if not lacking else f'not in {", ".join(lacking)}')
        self.say('Last-Modified from HEAD', answers['HEAD'].headers.get('last-modified', 'no'))
        self.say('Server header', answers['PUT'].headers.get('server', 'none'))
        self.say('x-amz-request-id header', 'yes' if 'x-amz-request-id' in answers['PUT'].headers else 'none')

    def classes(self):
        for name in ('STANDARD_IA', 'GLACIER', 'DEEP_ARCHIVE', 'NONSENSE'):
            key = self.key()
            answer = self.s3.put(key, b'x', {'x-amz-storage-class': name})
            told = self.s3.ask('HEAD', key).headers.get('x-amz-storage-class', 'none')
            tree = self.s3.page(list_type=2, prefix=key)[3]
            entry = None if tree is None else tree.find('{*}Contents')
            listed = 'nothing' if entry is None else entry.findtext('{*}StorageClass') or 'none'
            self.say(f'PUT x-amz-storage-class: {name}', f'{answer}, HEAD says {told}, the listing {listed}, {self.stored(key, b"x")}')
        lock = {'x-amz-object-lock-mode': 'GOVERNANCE', 'x-amz-object-lock-retain-until-date': '2099-01-01T00:00:00Z'}
        key = self.put_with('PUT with an object lock', lock)
        self.say('— DELETE of it', f'{self.s3.ask("DELETE", key)}, {self.stored(key, b"body " * 50)}')

    def ranges(self):
        key = self.key()
        body = b'0123456789'
        self.s3.put(key, body)
        for text, expected in (('2-5', body[2:6]), ('-3', body[-3:]), ('5-', body[5:]), ('5-1000', body[5:]), ('-1000', body), ('10-20', None), ('-0', None)):
            answer = self.s3.get(key, {'range': f'bytes={text}'})
            right = 'right' if answer.body == expected else f'{len(answer.body)} bytes' if answer.ok else ''
            self.say(f'GET bytes={text} of 10', f'{answer} {right} {answer.headers.get("content-range", "")}'.rstrip())
        key = self.key()
        self.s3.put(key, b'')
        self.say('GET bytes=-3 of 0', self.s3.get(key, {'range': 'bytes=-3'}))

    def missing(self):
        answer = self.s3.ask('HEAD', 'none')
        self.say('HEAD of a missing object', f'{answer}, {len(answer.body)} bytes of body')
        self.say('GET of a missing object', self.s3.get('none'))
        self.say('GET of a missing object, below an object', self.s3.get('o1/none'))
        self.say('DELETE of a missing object', self.s3.ask('DELETE', 'none'))
        self.say('GET in a missing bucket', self.s3.get('none', bucket='no-such-bucket'))
        self.say('list of a missing bucket', self.s3.ask('GET', query={'list-type': 2}, bucket='no-such-bucket'))
        self.say('PUT into a missing bucket', self.s3.put('x', b'x', bucket='no-such-bucket'))

    def signatures(self):
        key = self.key()
        self.s3.put(key, b'x')
        own = self.s3
        for what, other in (('wrong secret', {'secret': 'x' * 40}), ('unknown key', {'key': 'GK' + '0' * 24}), ('wrong region', {'region': 'elsewhere'})):
            client = S3(f's3:http://{own.address[0]}:{own.address[1]}/{own.bucket}', **{'key': own.key, 'secret': own.secret, 'region': own.region} | other)
            client.prefix = own.prefix
            self.say(f'GET with a {what}', client.get(key))
        late = datetime.datetime.now(datetime.timezone.utc)
        for minutes in (-60, 60, -60 * 48):
            self.say(f'GET signed {minutes:+} minutes away', self.s3.get(key, at=late + datetime.timedelta(minutes=minutes)))
        connection = http.client.HTTPConnection(*own.address, timeout=30)
        connection.request('GET', f'/{own.bucket}/{own.prefix}{key}')
        response = connection.getresponse()
        self.say('GET without a signature', Answer(response.status, response.getheaders(), response.read()))

    def connections(self):
        connection = http.client.HTTPConnection(*self.s3.address, timeout=30)
        key = self.key()
        self.s3.put(key, b'x' * 100, connection=connection)
        first = connection.sock
        again = self.s3.get(key, connection=connection)
        self.say('second request on one connection', f'{again}, {"kept alive" if first is not None and connection.sock is first else "a new one"}')
        self.s3.get('none', connection=connection)
        self.say('— after a 404', 'kept alive' if connection.sock is first else 'a new one')
        path, headers = self.s3.sign('PUT', self.s3.prefix + key, {}, {}, hashlib.sha256(b'y').hexdigest())
        with socket.create_connection(self.s3.address, timeout=5) as raw:
            head = ''.join(f'{k}: {v}\r\n' for k, v in headers.items())
            raw.sendall(f'PUT {path} HTTP/1.1\r\n{head}content-length: 1\r\nexpect: 100-continue\r\n\r\n'.encode())
            try:
                self.say('Expect: 100-continue', raw.recv(1000).split(b'\r\n')[0].decode())
            except TimeoutError:
                self.say('Expect: 100-continue', 'no answer in 5 s')

    def broken_off(self):
        """A PUT whose connection ends half-way, as a killed client leaves it."""
        for what, old in (('new name', None), ('over an object', b'old')):
            key = self.key()
            if old is not None:
                self.s3.put(key, old)
            body = secrets.token_bytes(3_000_000)
            path, headers = self.s3.sign('PUT', self.s3.prefix + key, {}, {}, UNSIGNED)
            with socket.create_connection(self.s3.address, timeout=30) as raw:
                head = ''.join(f'{k}: {v}\r\n' for k, v in headers.items())
                raw.sendall(f'PUT {path} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n'.encode() + body[:len(body) // 2])
                time.sleep(0.5)
                self.say(f'PUT half-way, {what}', self.seen(key, old))
            time.sleep(1)
            self.say('— and broken off then', self.seen(key, old))

    def seen(self, key, old):
        """What others find under a key."""
        try:
            answer = self.s3.get(key)
            found = 'nothing' if answer.status == 404 else 'the old object' if old is not None and answer.body == old else f'{answer}, {len(answer.body)} bytes'
        except (OSError, http.client.HTTPException) as e:
            found = f'{type(e).__name__}: {e}'
        tree = self.s3.page(list_type=2, prefix=key)[3]
        listed = 'not listed' if tree is None or tree.find('{*}Contents') is None else f'listed with {tree.find("{*}Contents").findtext("{*}Size")} bytes'
        head = self.s3.ask('HEAD', key)
        length = head.headers.get('content-length') if head.ok else 'none'
        return f'{found} (HEAD: length {length}; {listed})'

    def batch(self):
        keys = [self.key(), self.key()]
        for key in keys:
            self.s3.put(key, b'x')
        text = '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' + ''.join(f'<Object><Key>{self.s3.prefix}{k}</Key></Object>' for k in [*keys, 'none']) + '</Delete>'
        body = text.encode()
        answer = self.s3.ask('POST', query={'delete': ''}, headers={'content-md5': b64(hashlib.md5(body).digest())}, body=body)
        left = [k for k in keys if self.s3.get(k).status != 404]
        self.say('POST ?delete of two and a missing one', f'{answer}, {len(left)} left')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('url')
    parser.add_argument('command', choices=['create', 'health', 'put', 'get', 'head', 'list', 'delete', 'probe'])
    parser.add_argument('arguments', nargs='*')
    given = parser.parse_args()
    s3, key = S3(given.url), given.arguments[0] if given.arguments else ''
    if given.command in ('put', 'get', 'head', 'delete') and not key:
        parser.error('a key is needed')
    try:
        if given.command == 'probe':
            Probe(s3).run()
            return 0
        if given.command == 'health':
            why = health(s3)
            print(why or 'healthy', file=sys.stderr)
            return 1 if why else 0
        if given.command == 'list':
            print(*s3.list(key)[0], sep='\n')
            return 0
        if given.command == 'create':
            answer = s3.ask('PUT')
        elif given.command == 'put':
            with open(given.arguments[1], 'rb') if len(given.arguments) > 1 else sys.stdin.buffer as file:
                answer = s3.put(key, file.read())
        else:
            answer = s3.ask(given.command.upper(), key)
    except (OSError, http.client.HTTPException) as e:
        print(f's3.py: {e}', file=sys.stderr)
        return 1
    print(answer, *(f'{k}: {v}' for k, v in answer.headers.items()), sep='\n', file=sys.stderr)
    if given.command == 'get':
        sys.stdout.buffer.write(answer.body)
    return 0 if answer.ok else 1


if __name__ == '__main__':
    sys.exit(main())

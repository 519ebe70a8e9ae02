#!/bin/bash
# One Garage node, for tests: garage.sh start DIR [--port N] [--owner PID] | stop DIR | status DIR
# What it keeps is in DIR/garage, which `stop` removes. `start` and `status` print shell assignments for `eval`, and nothing else on
# stdout. With --owner it stops when that process is gone. lib.sh says what its settings leave out (fsync, compression).
#
# How version 2.5.0 differs from S3, as `s3.py probe` shows:
#   - If-None-Match: * and If-Match of a PUT are ignored: it overwrites;
#   - a wrong Content-MD5 is BadDigest, a wrong x-amz-content-sha256 or x-amz-checksum-* (also behind aws-chunked) is InvalidDigest;
#     nothing is stored then;
#   - storage classes and locks are taken and ignored: HEAD tells none, the listing STANDARD; ?object-lock is 501;
#   - a key longer than LMDB's 511 bytes, less some of its own, is 503, not refused for good: a client that trusts it tries again;
#   - a request signed an hour away is served, only another day is refused; unknown keys and wrong signatures are both AccessDenied;
#   - -3 of an empty object is 206 with nothing in it.
# As S3 has it: ranges, longer suffixes too, listings and their pages, ETags, list after write, a PUT that breaks off.
. "$(dirname "$0")/lib.sh"

prepare() {
    garage=$(program garage)
    key=GK$(random_hex 12) secret=$(random_hex 32) rpc=$(random_hex 32)
}

serve() {
    garage_config "$state" "127.0.0.1:$port" "127.0.0.1:$(free_ports 1)" "$rpc" 1 > "$state/garage.toml"
    chmod 600 "$state/garage.toml"
    access "$key" "$secret" garage
    launch "$state/server" "$state/log" env -i HOME="$state" PATH="$PATH" RUST_LOG=garage=info GARAGE_DEFAULT_ACCESS_KEY="$key" \
        GARAGE_DEFAULT_SECRET_KEY="$secret" GARAGE_DEFAULT_BUCKET=seabed "$garage" -c "$state/garage.toml" server --single-node --default-bucket
}

single garage "$@"

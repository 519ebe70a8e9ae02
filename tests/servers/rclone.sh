#!/bin/bash
# `rclone serve s3` over a local directory, for tests: rclone.sh start DIR [--port N] [--owner PID] | stop DIR | status DIR
# What it keeps is in DIR/rclone, which `stop` removes; the objects of the bucket are the files below DIR/rclone/data/seabed.
# `start` and `status` print shell assignments for `eval`, and nothing else on stdout. With --owner it stops when that process is gone.
#
# How version 1.75.2 differs from S3, as `s3.py probe` shows:
#   - If-None-Match: * and If-Match of a PUT are ignored: it overwrites; If-Match of a GET too (its If-None-Match is 304);
#   - a wrong Content-MD5 is refused (BadDigest, nothing stored); a wrong x-amz-content-sha256 and a wrong x-amz-checksum-* are not:
#     what came is stored, and HEAD then tells the checksum that was claimed. A wrong trailing checksum is ignored as well;
#   - a range is answered with 200, not 206, though with Content-Range and the right bytes; a suffix longer than the object, or any
#     of an empty one, is 416 where S3 sends the whole object;
#   - any region is taken; a request signed an hour ago is 400 AccessDenied, one from the future 403 RequestTimeTooSkewed;
#   - any storage class is taken, invented ones too, and told by HEAD; the listing always says STANDARD. Locks do not hold;
#   - keys are paths: where `p` is an object `p/q` cannot be one (500), and no part of a key may be longer than 255 bytes;
#   - a listing's ETags are without quotes;
#   - what is changed in its directory behind its back it sees minutes later.
# As S3 has it: an ETag is the MD5, listings come in byte order and in pages of at most max-keys or 1000, what was put or deleted is in
# the next listing, every answer has a Date, a PUT that breaks off leaves nothing, or the old object.
. "$(dirname "$0")/lib.sh"

prepare() {
    rclone=$(program rclone)
    key=SEABED$(random_hex 7) secret=$(random_hex 20)
}

serve() {
    mkdir -p "$state/data/seabed" "$state/home"
    access "$key" "$secret" us-east-1
    # An environment of its own: a user's RCLONE_* and configuration change what it does.
    launch "$state/server" "$state/log" env -i HOME="$state/home" PATH="$PATH" "$rclone" --config "$state/home/rclone.conf" \
        --cache-dir "$state/home/cache" serve s3 --addr "127.0.0.1:$port" --auth-key "$key,$secret" "$state/data"
}

single rclone "$@"

#!/usr/bin/env python3
"""A nightly job over days of a shop's database, beside what it replaces: cron + pg_dump + gzip + copy, and restic.

    benches/nightly_job.py --seabed target/release/seabed --restic PEERS/restic --bench ../shared/bench --work DIR [--days 5] [--dump dump0.sql]

Starts a private PostgreSQL (as the user postgres), fills it with the shop (or with a dump of it), and lets every day pass by `shop-day.sql`. After each day each of the
three stores the database once; which one begins takes turns. Figures: seconds of the whole run, bytes read from the server, bytes that the store grew by. Prints a table
in Markdown. Needs root, PostgreSQL, restic.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

PORT = "54998"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("seabed", "restic", "bench", "work"):
        parser.add_argument(f"--{name}", required=True, type=pathlib.Path)
    parser.add_argument("--dump", type=pathlib.Path)
    parser.add_argument("--days", type=int, default=5)
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="nightly-job-", dir=args.work.resolve()))
    os.chmod(work, 0o755)
    server = Server(work)
    try:
        server.fill(args)
        rows = days(args, work, server)
    finally:
        server.stop()
        shutil.rmtree(work, ignore_errors=True)
    table(rows)
    # The job must be ahead of both in what it stores from the second day on, and in time.
    later = rows[1:]
    total = lambda who, what: sum(row[who][what] for row in later)
    worse = [(who, what) for who in ("gzip", "restic") for what in ("seconds", "stored") if total("seabed", what) >= total(who, what)]
    if worse:
        print("not ahead of:", ", ".join(f"{who} in {what}" for who, what in worse))
    return 1 if worse else 0


class Server:
    def __init__(self, work):
        self.bin = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self.data = work / "pg"
        self.data.mkdir()
        shutil.chown(self.data, "postgres")
        self.run(f"{self.bin}/initdb -D {self.data}/db")
        self.run(f"{self.bin}/pg_ctl -D {self.data}/db -w -o '-p {PORT} -k {self.data} -c listen_addresses= -c fsync=off' -l {self.data}/log start")

    def run(self, command):
        subprocess.run(["su", "postgres", "-c", command], check=True, stdout=subprocess.DEVNULL, cwd="/")

    def sql(self, path):
        self.run(f"{self.bin}/psql -q -X -v ON_ERROR_STOP=1 -h {self.data} -p {PORT} -d shop -f {path}")

    def fill(self, args):
        for name in ("shop.sql", "shop-day.sql"):
            shutil.copy(args.bench / name, self.data)
            os.chmod(self.data / name, 0o644)
        self.run(f"{self.bin}/createdb -h {self.data} -p {PORT} shop")
        self.sql(args.dump.resolve() if args.dump else self.data / "shop.sql")

    def day(self):
        self.sql(self.data / "shop-day.sql")

    def dump(self):
        return f"{self.bin}/pg_dump -h {self.data} -p {PORT} -U postgres shop"

    def stop(self):
        subprocess.run(["su", "postgres", "-c", f"{self.bin}/pg_ctl -D {self.data}/db -m immediate stop"], stdout=subprocess.DEVNULL, cwd="/")


def size(path):
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_file())


def days(args, work, server):
    home = work / "home"
    home.mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "RESTIC_PASSWORD": "bench", "SEABED_PASSWORD": "bench"}
    (home / "seabed.toml").write_text(
        f"""state_dir = "state"
[repo.main]
url = "dir:{work}/seabed"
retention = "usual"
[retention.usual]
keep = {{ daily = 7, last = 7 }}
[source.pg]
kind = "postgres"
dsn = "host={server.data} port={PORT} user=postgres dbname=shop"
programs = "{server.bin}"
globals = false
[job.nightly]
sources = ["pg"]
monitor = {{ max_shrink = "30%" }}
"""
    )
    seabed = [str(args.seabed.resolve()), "--config", str(home / "seabed.toml")]
    restic = [str(args.restic.resolve()), "--repo", str(work / "restic"), "--quiet"]
    subprocess.run([*seabed, "init", "--repo", "@main", "--quiet"], env=env, check=True)
    subprocess.run([*restic, "init"], env=env, check=True)
    (work / "gzip").mkdir()

    def with_seabed(day):
        out = subprocess.run([*seabed, "run", "--json"], env=env, check=True, stdout=subprocess.PIPE, text=True).stdout
        report = next(line for line in map(json.loads, out.splitlines()) if line["message_type"] == "run")
        return report["sources"][0]["snapshots"][0]["bytes_read"]

    def with_gzip(day):
        target = work / "gzip" / f"shop-{day}.sql.gz"
        subprocess.run(["bash", "-o", "pipefail", "-c", f"{server.dump()} | gzip > {target}"], env=env, check=True)
        # What `aws s3 cp` does after that: the bytes are read and written once more.
        shutil.copy(target, target.with_suffix(".copy"))
        target.unlink()

    def with_restic(day):
        subprocess.run(["bash", "-o", "pipefail", "-c", f"{server.dump()} | {' '.join(restic)} backup --stdin --stdin-filename shop.sql"], env=env, check=True)

    ways = [("seabed", work / "seabed", with_seabed), ("gzip", work / "gzip", with_gzip), ("restic", work / "restic", with_restic)]
    rows = []
    for day in range(args.days):
        if day:
            server.day()
        # Everybody meets a cache that is as warm.
        subprocess.run(["bash", "-c", f"{server.dump()} > /dev/null"], env=env, check=True)
        row = {}
        for name, store, way in ways[day % 3 :] + ways[: day % 3]:
            before, began = size(store), time.monotonic()
            read = way(day)
            row[name] = {"seconds": time.monotonic() - began, "stored": size(store) - before, "read": read}
        rows.append(row)
        print(f"day {day + 1}: " + ", ".join(f"{n} {row[n]['seconds']:.1f} s {row[n]['stored'] / 1e6:.1f} MB" for n in row), file=sys.stderr, flush=True)
    return rows


def table(rows):
    print("| night | dump read | Seabed: time | stored | pg_dump, gzip, copy: time | stored | pg_dump, restic: time | stored |")
    print("|---|---|---|---|---|---|---|---|")
    for day, row in enumerate(rows):
        cells = [f"{row[n]['seconds']:.1f} s | {row[n]['stored'] / 1e6:.1f} MB" for n in ("seabed", "gzip", "restic")]
        print(f"| {day + 1} | {row['seabed']['read'] / 1e6:.0f} MB | {' | '.join(cells)} |")
    total = [f"{sum(r[n]['seconds'] for r in rows):.1f} s | {sum(r[n]['stored'] for r in rows) / 1e6:.1f} MB" for n in ("seabed", "gzip", "restic")]
    print(f"| all | {sum(r['seabed']['read'] for r in rows) / 1e6:.0f} MB | {' | '.join(total)} |")


if __name__ == "__main__":
    sys.exit(main())

"""Servers and the proxy before them, started and stopped by the comparisons."""
import os, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))


def start(name, work):
    """Starts the server of NAME.sh, until this process ends at the latest; what the script prints, by name."""
    done = subprocess.run([f'{HERE}/{name}.sh', 'start', work, '--owner', str(os.getpid())], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise OSError(f'{name}.sh start: exit {done.returncode}')
    return dict(line.split('=', 1) for line in done.stdout.splitlines())


def stop(name, work):
    subprocess.run([f'{HERE}/{name}.sh', 'stop', work])


class Proxy:
    """So much longer takes every round trip to `endpoint`."""

    def __init__(self, endpoint, ms):
        command = [sys.executable, f'{HERE}/delay.py', '--to', endpoint, '--ms', str(ms)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        port = self.process.stdout.readline().strip().decode()
        if not port:
            raise OSError('the proxy does not start')
        self.endpoint = f'127.0.0.1:{port}'

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

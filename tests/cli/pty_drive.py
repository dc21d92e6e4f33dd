"""Drives a program on a pseudo-terminal: pty_drive.py STEPS.json PROGRAM ARGUMENT...

STEPS is a list of ["expect", TEXT], ["send", TEXT], ["pause", SECONDS]; prints
{"output": all that the program wrote, "exit": status or -signal, "failed": the step that timed out or null}.
"""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

TIMEOUT = 60.0


class Terminal:
    def __init__(self, argv):
        self.output = b""
        self.seen = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(argv[0], argv)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))

    def read(self, seconds):
        """Reads what comes within that time; False at the end of the program."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.output += data
        return data != b""

    def expect(self, text):
        until = time.monotonic() + TIMEOUT
        wanted = text.encode()
        while time.monotonic() < until:
            at = self.output.find(wanted, self.seen)
            if at >= 0:
                self.seen = at + len(wanted)
                return True
            if not self.read(0.1):
                return self.output.find(wanted, self.seen) >= 0
        return False

    def pause(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.read(0.02):
            pass

    def raw(self):
        """Waits until the line editor reads keys: an end of file typed before that would be lost."""
        until = time.monotonic() + TIMEOUT
        while time.monotonic() < until and termios.tcgetattr(self.fd)[3] & termios.ICANON:
            self.read(0.02)

    def finish(self):
        """Waits for the end of the program; kills it when it does not come."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                while self.read(0.05) and select.select([self.fd], [], [], 0)[0]:
                    pass
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None


def main():
    steps = json.loads(sys.argv[1])
    terminal = Terminal(sys.argv[2:])
    failed = None
    for index, (kind, value) in enumerate(steps):
        if kind == "expect":
            if not terminal.expect(value):
                failed = f"step {index}: expected {value!r}"
                break
        elif kind == "send":
            if value == "\x04":
                terminal.raw()
            os.write(terminal.fd, value.encode())
        else:
            terminal.pause(value)
    if failed is not None:
        os.kill(terminal.pid, signal.SIGKILL)
    status = terminal.finish()
    print(json.dumps({"output": terminal.output.decode(errors="replace"), "exit": status, "failed": failed}))


main()

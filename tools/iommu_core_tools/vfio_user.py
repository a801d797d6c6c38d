# SPDX-License-Identifier: GPL-2.0
"""The host's side of tools/guest/vfio-user: one running program in a guest."""

from .guest import GuestError


class VfioError(GuestError):
    """The program answered a command with an error; `errno` is its symbol."""

    def __init__(self, command, answer, log):
        super().__init__(f"vfio-user: {command!r}: {answer}", log=log)
        self.errno = answer.split()[1] if answer.startswith("error ") else None


class VfioUser:
    """A running program, reached through two pipes of its own in the guest."""

    def __init__(self, guest, name):
        self._guest = guest
        self._base = f"/run/{name}"
        self.running = False
        guest.run(
            f"mkfifo {self._base}.in {self._base}.out && "
            f"{{ vfio-user 0<>{self._base}.in 1<>{self._base}.out 2>{self._base}.err & "
            f"echo $! >{self._base}.pid; }}"
        )
        self.running = True

    def say(self, command, timeout=30):
        """Runs a command; what comes after "ok". An error raises."""
        answer = self._ask(command, timeout)
        if answer != "ok" and not answer.startswith("ok "):
            raise VfioError(command, answer, self._guest.log)
        return answer[3:]

    def errno(self, command, timeout=30):
        """Runs a command that may fail; the symbol of its errno, or None when it worked."""
        try:
            self.say(command, timeout)
        except VfioError as error:
            return error.errno
        return None

    def script(self, commands, timeout=60):
        """Runs several commands in one go; what comes after each "ok". The first error raises."""
        answers = self.many(commands, timeout)
        for command, answer in zip(commands, answers):
            if answer != "ok" and not answer.startswith("ok "):
                raise VfioError(command, answer, self._guest.log)
        return [answer[3:] for answer in answers]

    def many(self, commands, timeout=60):
        """Runs commands in one go, all of them whatever happens; the program's answers."""
        count = len(commands)
        text = "\\n".join(commands)
        # One reader that takes all answers: the shell's own "read" goes byte by byte.
        script = f"printf '{text}\\n' >{self._base}.in; head -n {count} <{self._base}.out"
        return self._guest.run(script, timeout).splitlines()

    def quit(self):
        """Ends the program, which closes all that it holds, and waits until it is gone."""
        self._end(f"echo quit >{self._base}.in")

    def kill(self):
        """Kills the program, as a crash would."""
        self._end(f"kill -9 $(cat {self._base}.pid)")

    def _end(self, how):
        if not self.running:
            return
        self.running = False
        self._guest.run(
            f"{how}; while kill -0 $(cat {self._base}.pid) 2>/dev/null; do sleep 0.05; done; "
            f"rm -f {self._base}.*"
        )

    def _ask(self, command, timeout):
        script = f"echo '{command}' >{self._base}.in; read -r a <{self._base}.out; echo \"$a\""
        return self._guest.run(script, timeout).strip()

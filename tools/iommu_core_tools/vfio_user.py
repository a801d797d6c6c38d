# SPDX-License-Identifier: GPL-2.0
"""The host's side of tools/guest/vfio-user: one running program in a guest."""

from .guest import GuestError


class VfioError(GuestError):
    """The program answered a command with an error; `errno` is its symbol."""

    def __init__(self, command, answer, log):
        super().__init__(f"vfio-user: {command!r}: {answer}", log=log)
        self.errno = answer.split()[1] if answer.startswith("error ") else None


class VfioUser:
    """A running program, talked to through the guest's agent."""

    def __init__(self, guest, name):
        self._guest = guest
        self._name = name
        self.running = False
        guest.ask("start", f"{name} exec vfio-user")
        self.running = True

    def say(self, command, timeout=30):
        """Runs a command; what comes after "ok". An error raises."""
        answer = self.many([command], timeout)[0]
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
        text = "".join(f"{command}\n" for command in commands)
        status, answers = self._guest.ask("say", f"{self._name} {len(commands)} {text}", timeout)
        if status:
            raise VfioError(text.strip(), answers.strip(), self._guest.log)
        return answers.splitlines()

    def quit(self):
        """Ends the program, which closes all that it holds, and waits until it is gone."""
        self._end("end", f"{self._name} quit\n")

    def kill(self):
        """Kills the program, as a crash would."""
        self._end("kill", self._name)

    def _end(self, verb, text):
        if self.running:
            self.running = False
            self._guest.ask(verb, text)

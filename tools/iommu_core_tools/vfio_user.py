# SPDX-License-Identifier: GPL-2.0
"""The host's side of tools/guest/vfio-user, a program in a guest."""

from .guest import GuestError


class VfioError(GuestError):
    """The program answered a command with an error. `errno` is the symbol of the errno."""

    def __init__(self, command, answer, log):
        super().__init__(f"vfio-user: {command!r}: {answer}", log=log)
        self.errno = answer.split()[1] if answer.startswith("error ") else None


class VfioUser:
    """A running program. The guest's agent passes commands and answers on."""

    def __init__(self, guest, name):
        self._guest = guest
        self._name = name
        self.running = False
        guest.ask("start", f"{name} exec vfio-user")
        self.running = True

    def say(self, command, timeout=30):
        """Runs a command and returns the rest of the answer after "ok". Raises on an error."""
        answer = self.many([command], timeout)[0]
        if answer != "ok" and not answer.startswith("ok "):
            raise VfioError(command, answer, self._guest.log)
        return answer[3:]

    def errno(self, command, timeout=30):
        """Runs a command that may fail. Returns the symbol of the errno, or None if the command worked."""
        try:
            self.say(command, timeout)
        except VfioError as error:
            return error.errno
        return None

    def script(self, commands, timeout=60):
        """Sends several commands at once, and returns the rest of each answer after "ok". Raises on the first error."""
        answers = self.many(commands, timeout)
        for command, answer in zip(commands, answers):
            if answer != "ok" and not answer.startswith("ok "):
                raise VfioError(command, answer, self._guest.log)
        return [answer[3:] for answer in answers]

    def many(self, commands, timeout=60):
        """Sends several commands at once, and returns all answers. The program runs all commands, even after an error."""
        text = "".join(f"{command}\n" for command in commands)
        status, answers = self._guest.ask("say", f"{self._name} {len(commands)} {text}", timeout)
        if status:
            raise VfioError(text.strip(), answers.strip(), self._guest.log)
        return answers.splitlines()

    def quit(self):
        """Tells the program to close everything and exit, and waits until it has exited."""
        self._end("end", f"{self._name} quit\n")

    def kill(self):
        """Kills the program, as a crash would."""
        self._end("kill", self._name)

    def _end(self, verb, text):
        if self.running:
            self.running = False
            self._guest.ask(verb, text)

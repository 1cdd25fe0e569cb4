"""What a verb's module declares as `COMMAND`; its function `main(cli, flags, args) -> exit code` does the work."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flag

ANY = 1 << 30


class Command:
    """One verb: the arguments after the flags as --help shows them, a line of what it does, its flags, how many arguments it takes."""

    __slots__ = ("aliases", "flags", "interspersed", "least", "most", "short", "use")

    def __init__(
        self,
        use: str,
        short: str,
        flags: "tuple[Flag, ...]" = (),
        least: int = 0,
        most: int = ANY,
        aliases: "tuple[str, ...]" = (),
        interspersed: bool = True,
    ) -> None:
        self.use = use
        self.short = short
        self.flags = flags
        self.least = least
        self.most = most
        self.aliases = aliases
        self.interspersed = interspersed

    def wrong_count(self, count: int) -> str:
        """What is wrong with this number of arguments; empty if nothing."""
        plural = "" if self.least == 1 else "s"
        if self.least == self.most and count != self.least:
            return f"requires {self.least} argument{plural}" if self.least else "accepts no arguments"
        if count < self.least:
            return f"requires at least {self.least} argument{plural}"
        if count > self.most:
            return f"requires at most {self.most} argument{'' if self.most == 1 else 's'}"
        return ""

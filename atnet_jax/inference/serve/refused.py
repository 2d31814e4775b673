"""What a request is told when it is not answered."""


class Refused(Exception):
    """A request that cannot be answered.

    Attributes:
        status: of the HTTP response.
        sentence: what the person reads: what is wrong and what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence

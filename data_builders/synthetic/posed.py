"""Settings shared by the databases of posed expressions (macro-expressions)."""

from collections.abc import Sequence
from typing import NamedTuple

# Largest displacement of an expression, in pixels of the 224×224 face crop. It is three times that
# of the micro-expressions, and small enough that a warped face still looks natural.
PEAK = (10.0, 16.0)
NEGATIVE = ("anger", "disgust", "fear", "sadness")


class Expression(NamedTuple):
    """One expression of a subject. `take` counts expressions of the same emotion from 0."""

    emotion: str
    label: int | None
    take: int


NEUTRAL = Expression("neutral", None, 0)


def expressions(
    subject_index: int, count: int, classes: Sequence[int], negative: Sequence[str] = NEGATIVE
) -> list[Expression]:
    """Return the labelled expressions of one subject.

    The first expressions do not depend on `count`. Three expressions cover all three classes.

    Args:
        subject_index: 0 for the first subject. It shifts the order of classes and negative
            emotions.
        count: Number of expressions.
        classes: The labels, which are repeated cyclically. The first three are 0, 1, 2.
        negative: The negative emotions, which are used in turn.

    Returns:
        The expressions, with emotions that are keys of `action_units.PROTOTYPES`.
    """
    listed: list[Expression] = []
    for number in range(count):
        place = (subject_index + number) % 3 if number < 3 else number % len(classes)
        label = classes[place]
        turn = subject_index + sum(expression.label == 0 for expression in listed)
        emotion = (negative[turn % len(negative)], "happiness", "surprise")[label]
        take = sum(expression.emotion == emotion for expression in listed)
        listed.append(Expression(emotion, label, take))
    return listed

"""What the databases of posed (macro-) expressions have in common."""

from collections.abc import Sequence
from typing import NamedTuple

# Largest displacement of an expression, in pixels of the 224×224 face crop: three times that of
# the micro-expressions, and little enough for a face that is only warped to look like one.
PEAK = (10.0, 16.0)
NEGATIVE = ("anger", "disgust", "fear", "sadness")


class Expression(NamedTuple):
    """One expression of a subject; `take` counts those of the same emotion from 0."""

    emotion: str
    label: int | None
    take: int


NEUTRAL = Expression("neutral", None, 0)


def expressions(
    subject_index: int, count: int, classes: Sequence[int], negative: Sequence[str] = NEGATIVE
) -> list[Expression]:
    """The labelled expressions of one subject.

    The first ones do not depend on how many follow, and three are enough for all three classes.

    Args:
      subject_index: 0 for the first subject; it shifts which class and negative emotion is first.
      count: how many.
      classes: the labels to go through again and again; the first three are 0, 1, 2.
      negative: the negative emotions, which take turns.

    Returns:
      Emotions by the names of `action_units.PROTOTYPES`.
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

import pytest

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.apex import check_apex, middle_frame


@pytest.mark.parametrize(("count", "index"), [(1, 0), (2, 0), (3, 1), (4, 1), (35, 17)])
def test_middle_frame(count: int, index: int):
    assert middle_frame(range(100, 100 + count)) == index


def test_no_middle_of_nothing():
    with pytest.raises(UserError, match="without frames"):
        middle_frame([])


@pytest.mark.parametrize(("onset", "apex", "offset"), [(1, 1, 1), (1, 1, 5), (1, 5, 5)])
def test_apex_within_the_clip(onset: int, apex: int, offset: int):
    check_apex(onset, apex, offset)


@pytest.mark.parametrize(("onset", "apex", "offset"), [(10, 9, 20), (10, 21, 20), (20, 15, 10)])
def test_apex_outside_the_clip(onset: int, apex: int, offset: int):
    with pytest.raises(UserError, match=rf"^codes.xlsx, row 3: .* onset {onset}, apex {apex}"):
        check_apex(onset, apex, offset, where="codes.xlsx, row 3")

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.genome.encode import decode, encode, onehot, reverse_complement

SEQUENCES = st.text("ACGTN", max_size=50)
PAIRS = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


@given(SEQUENCES)
def test_decode_reads_back_what_encode_wrote(text: str) -> None:
    assert decode(encode(text)) == text
    assert decode(encode(text.lower())) == text
    assert encode(text).tolist() == encode(text.encode("ascii")).tolist()


@given(SEQUENCES)
def test_reverse_complement_pairs_every_base(text: str) -> None:
    codes_L = encode(text)
    assert decode(reverse_complement(codes_L)) == "".join(PAIRS[base] for base in reversed(text))
    assert np.array_equal(reverse_complement(reverse_complement(codes_L)), codes_L)


@given(SEQUENCES)
def test_onehot_marks_the_base_and_nothing_else(text: str) -> None:
    onehot_LA = onehot(encode(text))
    assert onehot_LA.dtype == np.float32
    assert onehot_LA.shape == (len(text), 4)
    for row, base in zip(onehot_LA, text, strict=True):
        assert row.tolist() == [float(base == letter) for letter in "ACGT"]


def test_known_codes() -> None:
    assert encode("ACGTacgtNnRyU-*?").tolist() == [0, 1, 2, 3] * 2 + [4] * 8
    assert encode("Aé日T").tolist() == [0, 4, 4, 3]  # one code for each character
    assert encode("").dtype == np.uint8


def test_batches_keep_their_leading_axes() -> None:
    codes_BL = np.array([[0, 1, 4], [3, 3, 2]], dtype=np.uint8)
    assert reverse_complement(codes_BL).tolist() == [[4, 2, 3], [1, 0, 0]]
    assert onehot(codes_BL).shape == (2, 3, 4)
    # Complement and reversal of the one-hot form: both axes reversed, since A-T and C-G mirror.
    assert np.array_equal(onehot(reverse_complement(codes_BL)), onehot(codes_BL)[:, ::-1, ::-1])


@pytest.mark.parametrize("function", [decode, onehot, reverse_complement])
def test_codes_above_four_are_refused(function) -> None:
    with pytest.raises(ValueError, match="0 to 4, got 5"):
        function(np.array([0, 5], dtype=np.uint8))
    with pytest.raises(TypeError, match="uint8"):
        function(np.array([0, 1]))

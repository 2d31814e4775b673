"""Eulerian magnification in float64: a mirrored Fourier transform, a pyramid out of loops."""

import numpy as np

FILTER = np.array([1, 4, 6, 4, 1]) / 16


def band_pass(frames, frame_rate, band):
    """Return the part in the frequency band of the clip followed by its reverse."""
    twice = np.concatenate([frames, frames[::-1]])
    spectrum = np.fft.fft(twice, axis=0)
    frequencies = np.abs(np.fft.fftfreq(len(twice), 1 / frame_rate))
    for index, frequency in enumerate(frequencies):
        # The highest of all is that of no frame of the mirrored clip.
        if not band[0] - 1e-9 <= frequency <= band[1] + 1e-9:
            spectrum[index] = 0
    return np.fft.ifft(spectrum, axis=0).real[: len(frames)]


def _smooth(rows):
    """Along the first axis; the border is a mirror between pixels 0 and 1."""
    last = len(rows) - 1
    out = np.zeros_like(rows)
    for i in range(len(rows)):
        for weight, shift in zip(FILTER, range(-2, 3), strict=True):
            place = abs(i + shift)
            out[i] += weight * rows[last - abs(last - place)]
    return out


def reduce(picture):
    return _smooth(_smooth(picture)[::2].T)[::2].T


def enlarge(picture, shape):
    """Zeros between the pixels, then smoothed, times 2 in each direction."""
    for side in shape:
        size = len(picture)
        wide = np.zeros((side, picture.shape[1]))
        for i in range(side):
            for weight, shift in zip(FILTER, range(-2, 3), strict=True):
                place = i + shift
                if place % 2:
                    continue
                # Beyond the first pixel its neighbour; beyond the last the last again.
                wide[i] += 2 * weight * picture[min(abs(place // 2), size - 1)]
        picture = wide.T
    return picture


def magnify(frames, frame_rate, alpha, cutoff, band):
    frames = frames.astype(np.float64)
    changes = band_pass(frames, frame_rate, band)
    return np.array(
        [f + magnify_change(c, alpha, cutoff) for f, c in zip(frames, changes, strict=True)]
    )


def magnify_change(change, alpha, cutoff):
    pyramid = []
    rest = change
    while min(rest.shape) >= 5:
        smaller = reduce(rest)
        pyramid.append(rest - enlarge(smaller, rest.shape))
        rest = smaller
    pyramid.append(rest)
    delta = cutoff / 8 / (1 + alpha)
    wavelength = np.sqrt(change.shape[0] ** 2 + change.shape[1] ** 2) / 3
    for level in reversed(range(len(pyramid))):
        own = 2 * (wavelength / delta / 8 - 1)
        if level in (0, len(pyramid) - 1) or own < 0:
            own = 0
        pyramid[level] = pyramid[level] * min(own, alpha)
        wavelength /= 2
    result = pyramid.pop()
    while pyramid:
        detail = pyramid.pop()
        result = detail + enlarge(result, detail.shape)
    return result

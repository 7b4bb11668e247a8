"""The variance of a mean whose observations come in clusters, such as the requests of one user.

Shapes: R requests in G clusters, A arms.
"""

import math

import numpy as np

from twofold.records import Floats, Ints


class Clusters:
    """Which requests belong to the same cluster, and so are resampled together.

    Args:
        numbers: (R,), the number of each request's cluster.
    """

    def __init__(self, numbers: Ints) -> None:
        _, self._numbers, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        self._sizes = counts.astype(np.float64)
        self._shares = self._sizes / len(self._numbers)

    def influence(self, values: Floats) -> Floats:
        """The influence values of the clusters on the means of `values` (A, R), (A, G).

        A mean over a random number of requests is a ratio; its linearisation gives these values.
        """
        sums = np.stack([np.bincount(self._numbers, weights=row) for row in values])
        centred = sums - values.mean(axis=1)[:, None] * self._sizes
        return np.asarray(centred / len(self._numbers))

    def covariance(self, influence: Floats) -> Floats:
        """The covariance of means when clusters are resampled, (A, A); infinite for a single
        cluster.

        It is computed by the jackknife, which leaves out one cluster at a time (CR3 of Bell and
        McCaffrey). A cluster with a large part of the requests moves the means towards itself,
        which shows only when it is left out.

        Args:
            influence: (A, G), from `influence`.
        """
        groups = len(self._sizes)
        if groups < 2:
            return np.full((len(influence), len(influence)), math.inf)
        apart = influence / (1 - self._shares)
        return np.asarray(apart @ apart.T * ((groups - 1) / groups))

    @property
    def degrees(self) -> float:
        """Degrees of freedom of that variance: Kish's effective number of clusters minus one."""
        return max(1.0, 1 / float((self._shares**2).sum()) - 1)

"""Statistics as small pure functions over arrays; nothing here reads a file, and nothing is drawn at random.

A table of scores is (seeds, questions): 1 right, 0 wrong, nan missing, the same questions in the same order in every
row and for every arm. What is estimated is the accuracy of a method, over the questions one could ask and the seeds
one could train with. Three things then vary (two-way random effects; Searle, Casella & McCulloch, Variance Components,
1992, ch. 4). With n questions, k seeds, p_q the mean of question q over seeds and a_s the accuracy of seed s:

    V = var_q(p_q) / n              questions, and what noise averaging over the seeds has left in them
    B = var_s(a_s)                  seeds, and the noise below; known from f = k - 1 degrees of freedom
    E = residual mean square / n    noise: what B would be if a seed brought nothing but luck
    S = max(0, B - E f/(f+1)) / k   seeds alone
    stderr^2 = V + S
    half width of the 95% interval = (z V + t_f S) / stderr

Each part has its own quantile, weighted as in Cochran, Biometrics 20, 1964, 191-195. With three seeds f is 2, and one
Satterthwaite t for the sum covers as little as 91% where seeds matter, S and its weight in f being too low together.
Taking all of E off makes S zero too often, none counts the noise twice; f/(f+1), found by simulation, keeps both
mistakes small. Sums are exact (fsum), so that no result depends on the order of seeds or questions.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum, inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats  # type: ignore[import-untyped]

NO_SCORES = "no scores: at least one seed and one question are needed"
Z95 = 1.959963984540054
LARGEST_Z = 12.0  # p is resolved down to 4e-33; beyond, the quantiles of one degree of freedom leave a float's range

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SeedNoise:
    """How much the accuracy of a run varies from seed to seed: B, E and f above."""

    variance: float  # B, of accuracies in [0, 1]
    chance: float  # E
    df: float  # f; 0 where no arm had two seeds, and nothing is known


@dataclass(frozen=True)
class Summary:
    """An arm over its seeds; all in units of accuracy, [0, 1]. low and high are the 95% interval."""

    mean: float
    stderr: float  # nan for a single question
    low: float
    high: float
    seed_sd: float  # standard deviation of the seeds' accuracies as observed, noise included; nan for one seed
    binomial_sd: float  # what drawing n questions alone does to one run: sqrt(p (1 - p) / n)
    seeds: int
    questions: int


@dataclass(frozen=True)
class Comparison:
    """Arm A less arm B; all in differences of accuracy, [-1, 1]. low and high are the 95% interval."""

    difference: float
    stderr: float
    low: float
    high: float
    p: float  # two-sided, of no difference; not corrected for the number of comparisons
    questions: int  # that both arms have
    spread: float  # variance over questions of the difference between the arms' means over seeds


@dataclass(frozen=True)
class _Arm:
    means: Array  # (questions,), each over the seeds that have it
    deviations: Array  # (seeds,), of each one's accuracy from that of all seeds on the questions it has
    noise: SeedNoise

    @property
    def seeds(self) -> int:
        return len(self.deviations)


def accuracy_over_seeds(correct: ArrayLike) -> tuple[float, float]:
    """(mean, stderr) over seeds and questions; stderr is nan for a single question.

    stderr^2 = V + B/k, the second term 0 for one seed, where nothing is known of it; this is then lm-eval's own stderr.
    The noise E is in both terms, so that this is never less than the stderr of `summarise`, which takes it off one.

    Raises:
        ValueError: there are no seeds or no questions.
    """
    table = np.atleast_2d(np.asarray(correct, dtype=float))
    if np.isnan(table).all():
        raise ValueError(NO_SCORES)
    arm = _arm(table)
    n = len(arm.means)
    return fsum(arm.means.tolist()) / n, sqrt(_variance(arm.means) / n + arm.noise.variance / arm.seeds)


def wilson(right: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """(low, high), Wilson's score interval of one run: accuracies that `right` of n questions do not rule out.

    (p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), p = right/n (JASA 22, 1927, 209-212); n need not be whole.
    (0, 1) for n = 0; low is exactly 0 when all are wrong, high exactly 1 when all are right.

    Raises:
        ValueError: right is not between 0 and n.
    """
    if not 0 <= right <= n:
        raise ValueError(f"{right} right of {n} questions is impossible; expected 0 <= right <= n")
    if n == 0:
        return 0.0, 1.0
    p, z2 = right / n, float(special.ndtri((1 + level) / 2)) ** 2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return 0.0 if right == 0 else max(0.0, centre - half), 1.0 if right == n else min(1.0, centre + half)


def seed_noise(arms: Iterable[ArrayLike]) -> SeedNoise:
    """What seeds do to a run, pooled over the tables of many arms by degrees of freedom; one seed alone adds nothing.

    Three seeds leave an arm's own noise all but unknown, and only arms far apart are then separated. All arms of a
    benchmark together know it well.

    Raises:
        ValueError: an arm has no score, or one is not 0, 1 or nan.
    """
    found = [_arm(_table(arm)).noise for arm in arms]
    df = fsum(noise.df for noise in found)
    variance = fsum(noise.df * noise.variance for noise in found)
    chance = fsum(noise.df * noise.chance for noise in found)
    return SeedNoise(variance / df, chance / df, df) if df else SeedNoise(0.0, 0.0, 0.0)


def summarise(correct: ArrayLike, family: SeedNoise | None = None) -> Summary:
    """An arm's accuracy, with an interval for the method's accuracy over questions and seeds.

    The questions' part of the interval is Wilson's at the effective number of questions p(1-p) / V (Kott & Carr,
    J. Official Statistics 13, 1997, 275-280); that of the seeds is added to each side in squares (Zou & Donner,
    Statistics in Medicine 27, 2008, 1693-1702). For one seed without `family` it is Wilson's, and holds for that run
    only: one seed says nothing of others.

    Args:
        correct: (seeds, questions); what is there is used, a question that no seed has is left out.
        family: `seed_noise` of all arms. S is then the larger of the arm's own and the family's, with the family's f.

    Raises:
        ValueError: there is no score, or one is not 0, 1 or nan.
    """
    arm = _arm(_table(correct))
    n, k = len(arm.means), arm.seeds
    mean = fsum(arm.means.tolist()) / n
    V = _variance(arm.means) / n
    S, df = _seeds_alone([arm], family)
    effective = float(n)
    if n > 1 and 0 < mean < 1:  # elsewhere V is unknown, or 0 and no measure of certainty
        effective *= min(k, mean * (1 - mean) / ((n - 1) * V)) if V else k
    low, high = wilson(mean * effective, effective)
    if S:
        V_known = V if n > 1 else 0.0
        more = _half(V_known, S, df) ** 2 - _half(V_known, 0.0, df) ** 2
        low = max(0.0, mean - sqrt((mean - low) ** 2 + more))
        high = min(1.0, mean + sqrt((high - mean) ** 2 + more))
    seed_sd = sqrt(arm.noise.variance) if k > 1 else nan
    return Summary(mean, sqrt(V + S), low, high, seed_sd, sqrt(mean * (1 - mean) / n), k, n)


def compare(
    a: ArrayLike, b: ArrayLike, family: SeedNoise | None = None, varies: tuple[bool, bool] = (True, True)
) -> Comparison:
    """Arm A less arm B, paired on the questions that both have; their seeds are independent, and may differ in number.

    V is now of the differences, and S adds up over both arms (f by Welch-Satterthwaite; an arm with one seed is taken
    to vary as the other does). V and B are what bootstraps over questions and over seeds (times k/(k-1)) tend to, in
    closed form: draws would add noise of their own and bound p from below, where Holm over 300 pairs needs 0.0001.

    Two pretended questions, one for either arm, keep V from 0; for one seed each that is the interval of Bonett &
    Price, J. Educational and Behavioral Statistics 37, 2012, 479-488. p is where the interval would end at 0, but for
    one seed each without `family` it is McNemar's exact test: of two runs, not two methods, and stricter.

    Args:
        a: (seeds of A, questions).
        b: (seeds of B, questions), the same questions in the same order.
        family: `seed_noise` of all arms. S is then the larger of the pair's own and the family's, with the family's f.
            Give it wherever `holm` follows: far out in the tails, the few seeds of two arms reject too often.
        varies: whether another seed would give another A, or B; one that was not trained adds nothing to S.

    Raises:
        ValueError: the tables differ in questions, share none, or hold a score that is not 0, 1 or nan.
    """
    A, B = _table(a), _table(b)
    if A.shape[1] != B.shape[1]:
        raise ValueError(f"tables of {A.shape[1]} and {B.shape[1]} questions; expected the same questions in both")
    both = ~(np.isnan(A).all(0) | np.isnan(B).all(0))
    if not both.any():
        raise ValueError("no question has a score in both arms; at least one is needed")
    arms = [_arm(A[:, both]), _arm(B[:, both])]
    d = arms[0].means - arms[1].means
    n, scale = len(d), 1 / arms[0].seeds + 1 / arms[1].seeds
    total = fsum(d.tolist())
    centre = total / (n + 2)
    V = _smoothed(fsum((d * d).tolist()), n, scale, centre)
    S, df = _seeds_alone([arm for arm, does in zip(arms, varies, strict=True) if does], family)
    half, p = _half(V, S, df), _p(abs(centre), V, S, df)
    if df == inf:
        wins, losses = int((d > 0).sum()), int((d < 0).sum())
        p = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return Comparison(total / n, sqrt(V + S), low, high, p, n, _variance(d))


def holm(p: ArrayLike) -> Array:
    """p values, of any shape, corrected for how many there are (Holm, Scand. J. Statistics 6, 1979, 65-70).

    A pair is separated, at a family-wise level, where its corrected p is below it. nan stays nan and is not counted.
    """
    from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]  # takes a second

    values = np.array(p, dtype=float)
    known = ~np.isnan(values)
    if known.any():
        values[known] = multipletests(values[known], method="holm")[1]
    return values


def letters(separated: ArrayLike) -> list[str]:
    """Compact letter display: two arms share a letter if and only if they are not separated.

    Insert and absorb (Piepho, J. Computational and Graphical Statistics 13, 2004, 456-466): from one group of all, each
    separated pair splits the groups that hold both, and groups within others go.

    Args:
        separated: (arms, arms) booleans, symmetric; arms in the order in which letters are given out, best first.

    Returns:
        One string an arm: a to z, then A to Z, then the rest of Unicode's alphabets.

    Raises:
        ValueError: the matrix is not square and symmetric, or separates an arm from itself.
    """
    matrix = np.asarray(separated, dtype=bool)
    arms = len(matrix)
    if matrix.shape != (arms, arms) or (matrix != matrix.T).any() or matrix.diagonal().any():
        raise ValueError("expected a symmetric matrix of arms by arms that separates no arm from itself")
    groups = {frozenset(range(arms))}
    for i, j in np.argwhere(np.triu(matrix)).tolist():
        split = {group - {lost} if {i, j} <= group else group for group in groups for lost in (i, j)}
        groups = {group for group in split if not any(group < other for other in split)}
    alphabet = string.ascii_letters + "".join(filter(str.isalpha, map(chr, range(0xC0, 0x3000))))
    named = list(zip(alphabet, sorted(map(sorted, groups)), strict=False))
    return ["".join(letter for letter, group in named if arm in group) for arm in range(arms)]


def detectable(
    questions: int,
    spread: float,
    seeds: int = 1,
    noise: SeedNoise | None = None,
    level: float = 0.05,
    power: float = 0.8,
) -> float:
    """The smallest true difference in accuracy that `compare` finds, at `level`, in a share `power` of benchmarks.

    It is the d at which the mean of Phi((d - h) / sqrt(V + S)), over what the test may take S for, is `power`; h is the
    half width it then needs. Were S known, that is d = h + 0.84 sqrt(V + S) for a power of 0.8. For one seed each
    without noise, where the test is McNemar's, it is that with S = 0, and 1/n added: Edwards' continuity correction,
    which the exact test follows (Fleiss, Levin & Paik, Statistical Methods for Rates and Proportions, 2003, ch. 13).

    Args:
        questions: n.
        spread: `Comparison.spread`; for one seed each nearly the share of questions on which the two runs disagree.
        seeds: of either arm.
        noise: `seed_noise`; taken for a family's if it has more degrees of freedom than the two arms do.
        level: of the test. The first step of Holm's correction takes 0.05 over the number of pairs.
        power: the share of benchmarks.

    Returns:
        A difference in (0, 1], or inf where not even 1 is found that often.

    Raises:
        ValueError: several seeds without their noise.
    """
    if seeds > 1 and (noise is None or not noise.df):
        raise ValueError("several seeds need their noise; take it from seed_noise of the arms")
    B, E, df = (noise.variance, noise.chance, noise.df) if noise else (0.0, 0.0, 0.0)
    own, scale, z = seeds - 1, 2 / seeds, float(special.ndtri(1 - level / 2))
    f, taken = np.full((1, 1), df or inf), np.full((1, 1), B - (E / (1 + 1 / df) if df else 0.0))
    if own:  # two arms alike: their B add up to chi2, and share it as beta, independently; 64 quantiles of each
        grid = (np.arange(64) + 0.5) / 64
        share, sums = special.betaincinv(own / 2, own / 2, grid), special.chdtri(2 * own, grid)[:, None]
        family = df > 2 * own
        f = f if family else own / (share**2 + (1 - share) ** 2)
        taken = np.maximum(B * sums / (2 * own) - E / (1 + 1 / f), taken if family else 0.0)
    t = special.stdtrit(f, 1 - level / 2) if df else z
    S = scale * np.maximum(taken, 0.0)

    def missed(d: float) -> float:
        disagreement = max(spread, d * (1 - d) if seeds == 1 else 0.0)  # two runs d apart differ on so many at least
        V = _smoothed(questions * disagreement, questions, scale, 0.0)
        needed = (z * V + t * S) / np.sqrt(V + S)
        sd = max(sqrt(disagreement / questions + scale * max(0.0, B - E)), 1e-12)  # those that agree have none
        return power - float(special.ndtr((d * questions / (questions + 2) - needed) / sd).mean())

    if missed(1.0) > 0:
        return inf
    return float(optimize.brentq(missed, 0.0, 1.0)) + (0.0 if df else 1 / questions)


def gap(valid: ArrayLike, test: ArrayLike) -> tuple[float, float]:
    """Validation less test accuracy and its standard error: what choosing by validation has flattered.

    The questions differ and their V add up; the seeds are the same, so B is of each seed's own gap, and what a seed
    does to both splits alike cancels.

    Args:
        valid: (seeds, validation questions).
        test: (seeds, test questions), the same seed in the same row.

    Returns:
        (gap, stderr), of accuracies; stderr is nan where a split has a single question.

    Raises:
        ValueError: the seeds differ in number, a seed lacks a split, or a score is not 0, 1 or nan.
    """
    tables = [_table(valid), _table(test)]
    if len(tables[0]) != len(tables[1]) or any(np.isnan(table).all(1).any() for table in tables):
        raise ValueError("expected the same seeds in validation and test, each with a score in both")
    a, b = map(_arm, tables)
    noise = SeedNoise(_variance(a.deviations - b.deviations), a.noise.chance + b.noise.chance, a.noise.df)
    S, _ = _seeds_alone([_Arm(a.means, a.deviations, noise)], None)
    V = _variance(a.means) / len(a.means) + _variance(b.means) / len(b.means)
    return fsum(a.means.tolist()) / len(a.means) - fsum(b.means.tolist()) / len(b.means), sqrt(V + S)


def _table(correct: ArrayLike) -> Array:
    """(seeds, questions), checked."""
    table = np.atleast_2d(np.asarray(correct, dtype=float))
    there = ~np.isnan(table)
    if not there.any():
        raise ValueError(NO_SCORES)
    if ((table != 0) & (table != 1) & there).any():
        raise ValueError("a score is neither 0 nor 1; a missing one is nan")
    return table


def _arm(table: Array) -> _Arm:
    """Seeds and questions without any score are left out."""
    there = ~np.isnan(table)
    if not there.all():
        table = table[there.any(1)][:, there.any(0)]
        there = ~np.isnan(table)
    right, (seeds, n) = np.where(there, table, 0.0), table.shape
    count, asked = there.sum(0), there.sum(1)
    means = right.sum(0) / count
    deviations = (right.sum(1) - [fsum(means[row].tolist()) for row in there]) / asked
    if seeds == 1:
        return _Arm(means, deviations, SeedNoise(0.0, 0.0, 0.0))
    # 0/1 scores of mean p have squares count p (1 - p) about it; what is not the seeds' is noise.
    squares = fsum((count * means * (1 - means)).tolist()) - fsum((asked * deviations**2).tolist())
    df = int(asked.sum()) - n - seeds + 1
    chance = max(0.0, squares) / df * fsum((1 / asked).tolist()) / seeds if df > 0 else 0.0
    return _Arm(means, deviations, SeedNoise(_variance(deviations), chance, seeds - 1.0))


def _variance(values: Array) -> float:
    """With n - 1 below; nan for one value."""
    n = len(values)
    mean = fsum(values.tolist()) / n
    return fsum(((values - mean) ** 2).tolist()) / (n - 1) if n > 1 else nan


def _smoothed(squares: float, n: int, scale: float, centre: float) -> float:
    """V of n differences with this sum of squares and two pretended ones, either way as far as means over seeds go."""
    return ((squares + scale) / (n + 2) - centre**2) / (n + 2)


def _seeds_alone(arms: list[_Arm], family: SeedNoise | None) -> tuple[float, float]:
    """S of a mean or of a difference, and its degrees of freedom; (0, inf) where nothing is known of seeds."""
    if not arms:
        return 0.0, inf
    scale = fsum(1 / arm.seeds for arm in arms)
    known = [arm for arm in arms if arm.noise.df]
    weights = [1 / arm.seeds for arm in known] if len(known) == len(arms) else [scale] * len(known)
    parts = [weight * arm.noise.variance for weight, arm in zip(weights, known, strict=True)]
    chance = fsum(weight * arm.noise.chance for weight, arm in zip(weights, known, strict=True))
    least = 0.0
    if family and family.df:
        df = family.df
        least = scale * max(0.0, family.variance - family.chance / (1 + 1 / df))
    elif known:
        below = fsum(part**2 / arm.noise.df for part, arm in zip(parts, known, strict=True))
        df = fsum(parts) ** 2 / below if below else fsum(arm.noise.df for arm in known)
    else:
        return 0.0, inf
    return max(least, fsum(parts) - chance / (1 + 1 / df)), df


def _t(df: float, z: float) -> float:
    """The quantile of t where the normal's is z."""
    return z if df == inf else -float(special.stdtrit(df, special.ndtr(-z)))


def _half(V: float, S: float, df: float, z: float = Z95) -> float:
    """Half width of the interval at the level of which z is the normal's quantile."""
    return (z * V + _t(df, z) * S) / sqrt(V + S) if V + S else 0.0


def _p(difference: float, V: float, S: float, df: float) -> float:
    """The p at which the half width is the difference."""
    most = min(difference / sqrt(V), LARGEST_Z)
    if _half(V, S, df, most) > difference:
        most = optimize.brentq(lambda z: _half(V, S, df, z) - difference, 0.0, most)
    return 2 * float(special.ndtr(-most))

"""SuSiE: which of many variants in linkage carry a trait's effects, as a sum of single effects.

Knows correlations of variants with a trait and linkage between them; knows no files. The model is
that of Wang et al. (2020, J. R. Stat. Soc. B 82:1273), in the form that needs correlations only
(Zou et al. 2022, PLoS Genet. 18:e1010299). Genotypes and trait have mean 0 and variance 1 here:
effects are in deviations of the trait per deviation of the genotype.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from cisray.errors import EvaluationError
from cisray.evaluation.metrics import Doubles

# Bounds of the logarithm of a prior variance, as susieR has them.
_LOG_VARIANCE = (-30.0, 15.0)
# An effect of a smaller prior variance is none.
NO_VARIANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class SusieSettings:
    """How many single effects at most, and how they are fitted; the defaults are susieR's."""

    effects: int = 10
    prior_variance: float = 0.2
    estimate_residual: bool = True
    tolerance: float = 1e-3
    iterations: int = 100


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What is known of a trait and V variants.

    `people` is the number of people that the correlations are of. `genotypes_IV` has columns of
    mean 0 and length 1, of the same people or of others: their products are the linkage, of which
    a share `ridge` is replaced by that of variants without any.
    """

    correlation_V: Doubles
    people: int
    genotypes_IV: Doubles
    ridge: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be. Raises EvaluationError."""
        if self.genotypes_IV.shape[1] != len(self.correlation_V) or not len(self.correlation_V):
            raise EvaluationError(
                f"{len(self.correlation_V):,} correlations and genotypes of "
                f"{self.genotypes_IV.shape[1]:,} variants: each variant needs both."
            )
        if self.people < 3 or not 0 <= self.ridge <= 1:
            raise EvaluationError(
                f"fine-mapping needs 3 people or more and a ridge of 0 to 1, got {self.people:,} "
                f"and {self.ridge:g}."
            )
        if not np.isfinite(self.correlation_V).all() or (np.abs(self.correlation_V) > 1).any():
            raise EvaluationError(
                "a correlation of a variant with the trait is not a number of -1 to 1: leave that "
                "variant out."
            )

    def linked(self, effect_V: Doubles) -> Doubles:
        """Multiply by the linkage: what effects look like at all variants."""
        through_V: Doubles = self.genotypes_IV.T @ (self.genotypes_IV @ effect_V)
        return (1 - self.ridge) * through_V + self.ridge * effect_V


@dataclass(frozen=True, slots=True, eq=False)
class SusieFit:
    """E single effects over V variants; rows of `weight_EV` sum to 1.

    `mean_EV` and `square_EV` are an effect's posterior mean, and that of its square, if it is this
    variant's. `elbo` is the bound of the evidence after each iteration.
    """

    weight_EV: Doubles
    mean_EV: Doubles
    square_EV: Doubles
    prior_E: Doubles
    log_bayes_factor_E: Doubles
    residual: float
    elbo: tuple[float, ...]
    converged: bool

    @property
    def present_E(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Tell which effects there are."""
        return np.asarray(self.prior_E > NO_VARIANCE)

    @property
    def inclusion_V(self) -> Doubles:
        """The probability that a variant has an effect (PIP)."""
        present_EV = self.weight_EV[self.present_E]
        # By logarithms, so that many small weights do not round to none.
        with np.errstate(divide="ignore"):
            pip_V: Doubles = -np.expm1(np.log1p(-np.minimum(present_EV, 1.0)).sum(axis=0))
        return pip_V

    @property
    def effect_V(self) -> Doubles:
        """Posterior mean of every variant's effect."""
        mean_V: Doubles = (self.weight_EV * self.mean_EV)[self.present_E].sum(axis=0)
        return mean_V

    @property
    def deviation_V(self) -> Doubles:
        """Posterior standard deviation of every variant's effect."""
        first_EV = self.weight_EV * self.mean_EV
        variance_V = (self.weight_EV * self.square_EV - first_EV**2)[self.present_E].sum(axis=0)
        deviation_V: Doubles = np.sqrt(np.maximum(variance_V, 0.0))
        return deviation_V


@dataclass(slots=True, eq=False)
class _State:
    """A fit under way: the effects, and what all of them look like at the variants."""

    weight_EV: Doubles
    mean_EV: Doubles
    square_EV: Doubles
    prior_E: Doubles
    bayes_E: Doubles
    divergence_E: Doubles
    linked_EV: Doubles
    residual: float

    @classmethod
    def empty(cls, effects: int, variants: int, prior: float) -> "_State":
        zero_EV, zero_E = np.zeros((effects, variants)), np.zeros(effects)
        even_EV = np.full((effects, variants), 1 / variants)
        return cls(
            even_EV, zero_EV, zero_EV.copy(), np.full(effects, prior), zero_E, zero_E.copy(),
            zero_EV.copy(), 1.0,
        )  # fmt: skip


def fit_susie(evidence: Evidence, settings: SusieSettings) -> SusieFit:
    """Fit single effects one after another until the bound rises by less than the tolerance.

    Each effect is fitted to what the others leave, with the prior variance of largest likelihood,
    zero included; then the residual variance, where it is estimated. No step lowers the bound.
    Where linkage is of other people than the correlations, a residual variance is not estimated
    well, and should stay 1. One that falls to zero or below, which no linkage of the same people
    gives, ends the fit there.
    """
    variants = len(evidence.correlation_V)
    effects = min(settings.effects, variants)
    state = _State.empty(effects, variants, settings.prior_variance)
    bounds: list[float] = []
    converged = False
    for _ in range(settings.iterations):
        for effect in range(effects):
            _update(state, effect, evidence)
        bounds.append(_bound(state, evidence))
        converged = len(bounds) > 1 and bounds[-1] - bounds[-2] < settings.tolerance
        if converged:
            break
        if settings.estimate_residual:
            state.residual = _square_left(state, evidence) / evidence.people
            if state.residual <= 0:
                break
    return SusieFit(
        state.weight_EV, state.mean_EV, state.square_EV, state.prior_E, state.bayes_E,
        state.residual, tuple(bounds), converged,
    )  # fmt: skip


def _update(state: _State, effect: int, evidence: Evidence) -> None:
    """Fit one effect to what the others leave."""
    degrees = evidence.people - 1
    others_V = state.linked_EV.sum(axis=0) - state.linked_EV[effect]
    left_V = evidence.correlation_V - others_V
    error = state.residual / degrees
    prior = best_prior(left_V, error, state.prior_E[effect])
    logs_V = log_bayes_factors(left_V, error, prior)
    total = _log_sum(logs_V) - math.log(len(logs_V))
    weight_V = np.exp(logs_V - logs_V.max())
    weight_V /= weight_V.sum()
    variance = prior * error / (prior + error)
    mean_V = left_V * (prior / (prior + error))
    square_V = variance + mean_V**2
    state.weight_EV[effect], state.mean_EV[effect] = weight_V, mean_V
    state.square_EV[effect] = square_V
    state.prior_E[effect], state.bayes_E[effect] = prior, total
    gained = 2 * float((weight_V * mean_V) @ left_V) - float(weight_V @ square_V)
    state.divergence_E[effect] = gained / (2 * error) - total
    state.linked_EV[effect] = evidence.linked(weight_V * mean_V)


def log_bayes_factors(estimate_V: Doubles, error: float, prior: float) -> Doubles:
    """Give each variant's log Bayes factor of an effect against none (Wakefield 2009).

    `estimate_V` are the effects as estimated, of variance `error`; a true one has variance `prior`.
    """
    z2_V = estimate_V**2 / error
    ratio = prior / error
    factors_V: Doubles = 0.5 * (z2_V * (ratio / (1 + ratio)) - math.log1p(ratio))
    return factors_V


def best_prior(estimate_V: Doubles, error: float, before: float) -> float:
    """Find the prior variance of largest likelihood: the best in bounds, that before, or zero."""

    def unlikely(log_variance: float) -> float:
        logs_V = log_bayes_factors(estimate_V, error, math.exp(log_variance))
        return -_log_sum(logs_V)

    found = optimize.minimize_scalar(unlikely, bounds=_LOG_VARIANCE, method="bounded")
    best, least = math.exp(float(found.x)), float(found.fun)
    if before > 0 and unlikely(math.log(before)) < least:
        best, least = before, unlikely(math.log(before))
    return best if least < -math.log(len(estimate_V)) else 0.0


def _log_sum(logs_V: Doubles) -> float:
    """Give the logarithm of the sum of exponentials; scipy's takes most of a small fit's time."""
    largest = float(logs_V.max())
    return largest + math.log(float(np.exp(logs_V - largest).sum()))


def _square_left(state: _State, evidence: Evidence) -> float:
    """Give the expected sum of squares that the effects leave of the trait's, over n - 1 = 1."""
    first_EV = state.weight_EV * state.mean_EV
    first_V, linked_V = first_EV.sum(axis=0), state.linked_EV.sum(axis=0)
    doubled = float((first_EV * state.linked_EV).sum())
    squares = float((state.weight_EV * state.square_EV).sum())
    share = 1 - 2 * float(first_V @ evidence.correlation_V) + float(first_V @ linked_V)
    return (evidence.people - 1) * (share - doubled + squares)


def _bound(state: _State, evidence: Evidence) -> float:
    """Give the bound of the log evidence (ELBO)."""
    likelihood = -evidence.people / 2 * math.log(2 * math.pi * state.residual)
    likelihood -= _square_left(state, evidence) / (2 * state.residual)
    return likelihood - float(state.divergence_E.sum())

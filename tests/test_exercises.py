"""The checks are themselves checked: every known mistake is rejected and named, every right answer passes."""

import math
from html.parser import HTMLParser

import pytest
import torch
from right_answers import (
    hw1_elbo_and_vaes,
    hw2_diffusion_from_scratch,
    score_matching,
    the_diffusion_elbo,
    the_posterior_mean,
    training_a_ddpm,
    what_to_predict,
)

from dlgm.exercises import bank, check
from dlgm.exercises.engine import Case, Exercise, Mistake, run

EXERCISES = bank()
MISTAKES = [(e, m) for e in EXERCISES.values() for m in e.mistakes]


# ---- right answers, written differently from the reference and from each other --------------------------------------
def alpha_bar_loop(betas):
    out = [torch.tensor(1.0, dtype=betas.dtype)]
    for b in betas:
        out.append(out[-1] * (1 - b))
    return torch.stack(out)


def alpha_bar_logs(betas):
    table = torch.zeros(len(betas) + 1, dtype=betas.dtype)
    table[1:] = torch.log1p(-betas).cumsum(0)
    return table.exp()


def q_sample_views(alpha_bar, x0, t, eps):
    a = alpha_bar[t].view(-1, *([1] * (x0.dim() - 1))).to(x0.dtype)
    return torch.sqrt(a) * x0 + torch.sqrt(1 - a) * eps


def q_sample_loop(alpha_bar, x0, t, eps):
    rows = []
    for i in range(len(x0)):
        a = alpha_bar[int(t[i])].item()
        rows.append(math.sqrt(a) * x0[i] + math.sqrt(1 - a) * eps[i])
    return torch.stack(rows)


def q_transition_product(alpha_bar, x_s, s, t):
    alpha = alpha_bar[1:] / alpha_bar[:-1]
    keep = torch.stack([alpha[int(a) : int(b)].prod() for a, b in zip(s, t, strict=True)])
    return (keep.sqrt() * x_s.movedim(0, -1)).movedim(-1, 0), 1 - keep


def q_transition_variances(alpha_bar, x_s, s, t):
    ratio = alpha_bar[t] / alpha_bar[s]
    shape = [len(x_s)] + [1] * (x_s.ndim - 1)
    return x_s * ratio.pow(0.5).reshape(shape), (1 - alpha_bar[t]) - ratio * (1 - alpha_bar[s])


def cosine_loop(T, s, max_beta):
    def f(t):
        return math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2

    return torch.tensor([min(1 - f(t) / f(t - 1), max_beta) for t in range(1, T + 1)], dtype=torch.float64)


def cosine_linspace(T, s, max_beta):
    angle = torch.linspace(s / (1 + s), 1, T + 1, dtype=torch.float64) * math.pi / 2
    f = (1 + torch.cos(2 * angle)) / 2
    return torch.minimum(1 - f[1:] / f[:-1], torch.tensor(max_beta, dtype=torch.float64))


def standard_kl_torch(mean, logvar):
    q = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    p = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return torch.distributions.kl_divergence(q, p).sum(1)


def standard_kl_loop(mean, logvar):
    out = torch.zeros(len(mean), dtype=mean.dtype)
    for m, s in zip(mean.T, logvar.T, strict=True):
        out = out + (m.square() + torch.expm1(s) - s) / 2
    return out


def elbo_loop(log_likelihood, kl):
    L = log_likelihood.shape[1]
    return sum(log_likelihood[:, i] for i in range(L)) / L - kl


def elbo_inside(log_likelihood, kl):
    return (log_likelihood - kl.unsqueeze(1)).mean(dim=-1)


def reparameterize_root(mean, logvar, eps):
    return torch.addcmul(mean, torch.sqrt(torch.exp(logvar)), eps)


def reparameterize_distribution(mean, logvar, eps):
    return eps * torch.exp(logvar / 2) + mean


def score_gradient_autograd(values, logvar, eps):
    mean, free = torch.zeros_like(logvar).requires_grad_(), logvar.clone().requires_grad_()
    z = (0.5 * logvar).exp() * eps
    log_q = -0.5 * ((z - mean) ** 2 / free.exp() + free).sum(1)
    return torch.autograd.grad((values * log_q).mean(), (mean, free))


def score_gradient_matmul(values, logvar, eps):
    L = len(values)
    return values @ eps / logvar.exp().sqrt() / L, values @ (eps * eps - 1) / (2 * L)


def bernoulli_softplus(logits, x):
    a = torch.where(x == 1, logits, -logits)
    return -torch.nn.functional.softplus(-a).reshape(len(x), -1).sum(-1)


def bernoulli_bce(logits, x):
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return -loss.sum(dim=tuple(range(1, x.ndim)))


def elbo_estimate_loop(log_joint, log_q):
    means, errors = [], []
    for p, q in zip(log_joint, log_q, strict=True):
        w = p - q
        m = w.sum() / len(w)
        means.append(m)
        errors.append(((w - m).square().sum() / (len(w) - 1) / len(w)).sqrt())
    return torch.stack(means), torch.stack(errors)


def elbo_estimate_var(log_joint, log_q):
    n = log_joint.shape[-1]
    mean = log_joint.mean(-1) - log_q.mean(-1)
    return mean, ((log_joint - log_q).var(dim=-1) / n) ** 0.5


def gaussian_kl_torch(m1, v1, m2, v2):
    p, q = (torch.distributions.Normal(m, v.sqrt()) for m, v in ((m1, v1), (m2, v2)))
    return torch.distributions.kl_divergence(p, q).sum(dim=-1)


def gaussian_kl_precision(m1, v1, m2, v2):
    r = v1 / v2
    return (((r - 1) - torch.log(r)) / 2 + (m2 - m1).pow(2) / (2 * v2)).sum(-1)


def ppca_posterior_precision(W, b, noise_var, x):
    precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / noise_var
    cov = torch.linalg.inv(precision)
    return torch.linalg.solve(precision, W.T @ (x - b).T / noise_var).T, cov


def ppca_posterior_gain(W, b, noise_var, x):
    """By conditioning the joint Gaussian of (z, x): gain = Wᵀ Cov(x)⁻¹."""
    gain = W.T @ torch.linalg.inv(W @ W.T + noise_var * torch.eye(len(W), dtype=W.dtype))
    return (x - b) @ gain.T, torch.eye(W.shape[1], dtype=W.dtype) - gain @ W


def iwae_bound_max(log_w):
    top = log_w.max(dim=1).values
    return top + torch.log(torch.exp(log_w - top[:, None]).mean(dim=1))


def iwae_bound_loop(log_w):
    out = []
    for row in log_w:
        total = row[0]
        for v in row[1:]:
            total = torch.logaddexp(total, v)
        out.append(total - math.log(len(row)))
    return torch.stack(out)


def chain_marginal_einsum(A1, A2, v1, v2):
    cov_z1 = torch.einsum("ik,jk->ij", A2, A2)
    cov_z1 = cov_z1 + torch.diag(v2.expand(len(A2)))
    return cov_z1, torch.einsum("ik,kl,jl->ij", A1, cov_z1, A1) + torch.diag(v1.expand(len(A1)))


def chain_marginal_sum(A1, A2, v1, v2):
    """x = A_1 A_2 z_2 + √v_2 A_1 ε_2 + √v_1 ε_1: three independent parts."""
    A = A1 @ A2
    eye = torch.eye(A1.shape[0], dtype=A1.dtype)
    cov_z1 = A2 @ A2.mT + torch.eye(A2.shape[0], dtype=A2.dtype) * v2
    return cov_z1, A @ A.mT + v2 * (A1 @ A1.mT) + v1 * eye


def hierarchy_log_joint_distributions(x, z1, z2, A1, A2, v1, v2):
    normal = torch.distributions.Normal
    return (
        normal(torch.zeros_like(z2), 1.0).log_prob(z2).sum(-1)
        + normal(torch.einsum("ij,bj->bi", A2, z2), v2.sqrt()).log_prob(z1).sum(-1)
        + normal(torch.einsum("ij,bj->bi", A1, z1), v1.sqrt()).log_prob(x).sum(-1)
    )


def hierarchy_log_joint_loop(x, z1, z2, A1, A2, v1, v2):
    rows = []
    for i in range(len(x)):
        quadratic = z2[i] @ z2[i]
        quadratic = quadratic + (z1[i] - A2 @ z2[i]).square().sum() / v2 + (x[i] - A1 @ z1[i]).square().sum() / v1
        size = x.shape[1] + z1.shape[1] + z2.shape[1]
        log_det = x.shape[1] * v1.log() + z1.shape[1] * v2.log()
        rows.append(-(quadratic + log_det + size * math.log(2 * math.pi)) / 2)
    return torch.stack(rows)


def sample_q_einsum(x, K1, K2, s1, s2, eps1, eps2):
    z1 = torch.einsum("ij,bj->bi", K1, x) + eps1 * s1**0.5
    return z1, torch.einsum("ij,bj->bi", K2, z1) + eps2 * s2**0.5


def sample_q_substituted(x, K1, K2, s1, s2, eps1, eps2):
    noise = eps1 * torch.sqrt(s1)
    return x @ K1.mT + noise, x @ (K2 @ K1).mT + noise @ K2.mT + eps2 * torch.sqrt(s2)


def level_terms_loop(log_p, log_q):
    B, K, T = log_q.shape
    levels = torch.zeros(B, T, dtype=log_p.dtype)
    for t in range(T):
        for k in range(K):
            levels[:, t] += (log_p[:, k, t + 1] - log_q[:, k, t]) / K
    return log_p[..., 0].mean(-1), levels


def level_terms_padded(log_p, log_q):
    terms = log_p - torch.cat([torch.zeros_like(log_p[..., :1]), log_q], -1)
    terms = terms.sum(1) / terms.shape[1]
    return terms[:, 0], terms[:, 1:]


def gaussian_log_likelihood_torch(mean, log_variance, x):
    law = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    return law.log_prob(x).reshape(len(x), -1).sum(-1)


def gaussian_log_likelihood_counts(mean, log_variance, x):
    D = x[0].numel()
    error = (x - mean).square().sum(dim=tuple(range(1, x.ndim)))
    return -error / (2 * torch.exp(log_variance)) - D / 2 * (log_variance + math.log(2 * math.pi))


def flow_log_prob_distributions(x, shift, log_scale):
    law = torch.distributions.Normal(shift, log_scale.exp())
    return law.log_prob(x).sum(-1)


def flow_log_prob_jacobian(x, shift, log_scale):
    out = []
    for row, t, s in zip(x, shift, log_scale, strict=True):
        jacobian = torch.diag(1 / s.exp())
        z = jacobian @ (row - t)
        log_base = -(z @ z) / 2 - len(z) / 2 * math.log(2 * math.pi)
        out.append(log_base + torch.linalg.slogdet(jacobian).logabsdet)
    return torch.stack(out)


def evidence_with_max(log_likelihood):
    top = log_likelihood.max(dim=1, keepdim=True).values
    return (top + (log_likelihood - top).exp().mean(1, keepdim=True).log())[:, 0]


def evidence_loop(log_likelihood):
    out = []
    for row in log_likelihood:
        total = row[0]
        for value in row[1:]:
            total = torch.logaddexp(total, value)
        out.append(total - math.log(len(row)))
    return torch.stack(out)


def ess_logs(log_w):
    return torch.exp(2 * torch.logsumexp(log_w, 1) - torch.logsumexp(2 * log_w, 1))


def ess_shifted(log_w):
    w = (log_w - log_w.max(1, keepdim=True).values).exp()
    return w.sum(1) ** 2 / (w * w).sum(1)


def reconstruction_loop(x, x_hat):
    errors = [torch.nn.functional.mse_loss(b, a) for a, b in zip(x, x_hat, strict=True)]
    return sum(errors) / len(errors)


RIGHT = {
    "flow_log_prob": [flow_log_prob_distributions, flow_log_prob_jacobian],
    "evidence_by_sampling": [evidence_with_max, evidence_loop],
    "effective_sample_size": [ess_logs, ess_shifted],
    "reconstruction_error": [reconstruction_loop, lambda x, x_hat: ((x_hat - x) ** 2).mean()],
    "gaussian_log_likelihood": [gaussian_log_likelihood_torch, gaussian_log_likelihood_counts],
    "chain_marginal": [chain_marginal_einsum, chain_marginal_sum],
    "hierarchy_log_joint": [hierarchy_log_joint_distributions, hierarchy_log_joint_loop],
    "sample_q": [sample_q_einsum, sample_q_substituted],
    "level_terms": [level_terms_loop, level_terms_padded],
    "elbo_estimate": [elbo_estimate_loop, elbo_estimate_var],
    "gaussian_kl": [gaussian_kl_torch, gaussian_kl_precision],
    "ppca_posterior": [ppca_posterior_precision, ppca_posterior_gain],
    "iwae_bound": [iwae_bound_max, iwae_bound_loop],
    "standard_kl": [standard_kl_torch, standard_kl_loop],
    "elbo_from_samples": [elbo_loop, elbo_inside],
    "reparameterize": [reparameterize_root, reparameterize_distribution],
    "score_function_gradient": [score_gradient_autograd, score_gradient_matmul],
    "bernoulli_log_likelihood": [bernoulli_softplus, bernoulli_bce],
    "std_of_sum": [torch.hypot, lambda a, b: (a.square() + b.square()) ** 0.5],
    "alpha_bar": [alpha_bar_loop, alpha_bar_logs],
    "q_sample": [q_sample_views, q_sample_loop],
    "q_transition": [q_transition_product, q_transition_variances],
    "cosine_betas": [cosine_loop, cosine_linspace],
}
for lesson in (
    the_posterior_mean,
    the_diffusion_elbo,
    what_to_predict,
    training_a_ddpm,
    score_matching,
    hw1_elbo_and_vaes,
    hw2_diffusion_from_scratch,
):
    RIGHT |= lesson.RIGHT


@pytest.mark.parametrize("exercise, mistake", MISTAKES, ids=[f"{e.name}-{m.name}" for e, m in MISTAKES])
def test_each_known_mistake_is_rejected_and_named_as_itself(exercise, mistake):
    report = check(exercise.name, mistake.function)
    assert report.state == "not yet"
    assert report.mistake is mistake
    assert report.function is exercise.reference
    assert mistake.says in repr(report) and report.fails in repr(report)


@pytest.mark.parametrize("name", EXERCISES)
def test_the_reference_and_at_least_two_other_right_answers_pass(name):
    assert len(RIGHT[name]) >= 2
    for solution in (EXERCISES[name].reference, *RIGHT[name]):
        report = check(name, solution)
        assert report.state == "right", repr(report)
        assert report.function is solution


@pytest.mark.parametrize("name", EXERCISES)
def test_an_untouched_stub_is_not_attempted(name):
    def stub(*args):
        raise NotImplementedError

    report = check(name, stub)
    assert report.state == "not attempted" and report.function is EXERCISES[name].reference
    words = "Not written yet" if report.exercise.hidden else "Nothing is wrong"
    assert "not attempted" in repr(report) and words in repr(report)


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("null", [lambda *a: a[0] * 0, lambda *a: a[0], lambda *a: None, lambda *a: 1.0])
def test_null_answers_are_wrong(name, null):
    assert check(name, null).state == "not yet"


def test_a_mistake_tied_to_one_data_shape_is_still_named():
    """Code that takes only (B, D) in float64 and lacks a root: the failing call is reported and the root named."""

    def tied(alpha_bar, x0, t, eps):
        return alpha_bar[t][:, None] * x0 + (1 - alpha_bar[t]).sqrt()[:, None] * eps

    report = check("q_sample", tied)
    assert report.state == "not yet" and report.mistake.name == "square root missing on the signal"


def test_the_report_says_what_was_observed_on_the_smallest_input():
    wrong = {m.name: m.function for m in EXERCISES["alpha_bar"].mistakes}["without the product"]
    report = check("alpha_bar", wrong)
    assert report.fails == "the value of alpha_bar for T = 4, β = (0.1, 0.25, 0.4, 0.6)"
    assert (report.observed, report.required) == ("0.75 at [2]", "0.675 at [2]")


def test_errors_and_missing_returns_are_told_apart():
    def crashes(alpha_bar, x0, t, eps):
        return x0 @ torch.ones(7)

    assert "RuntimeError" in check("q_sample", crashes).observed
    assert "return" in check("q_sample", lambda *a: None).observed
    assert check("q_transition", lambda a, x, s, t: x).fails == "the number of values returned"


def test_checking_leaves_the_learners_world_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    mistake = {m.name: m for m in EXERCISES["q_sample"].mistakes}["noise of its own instead of the given one"]
    check("q_sample", mistake.function)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_report_is_the_same_every_time():
    for exercise, mistake in MISTAKES[::5]:
        assert repr(run(exercise, mistake.function)) == repr(run(exercise, mistake.function))


class Tags(HTMLParser):
    """Counts opened and closed tags and collects the text."""

    def __init__(self):
        super().__init__()
        self.depth, self.text, self.seen = 0, "", set()

    def handle_starttag(self, tag, attrs):
        self.depth += 1
        self.seen.add(tag)

    def handle_endtag(self, tag):
        self.depth -= 1

    def handle_data(self, data):
        self.text += data


def test_html_is_balanced_escaped_and_holds_hints_and_solution():
    def hostile(betas):
        raise RuntimeError("<script>alert(1)</script>")

    for function in (hostile, EXERCISES["alpha_bar"].reference):
        page = Tags()
        page.feed(check("alpha_bar", function)._repr_html_())
        assert page.depth == 0 and "script" not in page.seen
        for part in ("Where to start", "A hint", "What you should see", "A solution", "torch.cumprod(alpha, dim=0)"):
            assert part in page.text


def test_bad_calls_are_named():
    with pytest.raises(ValueError, match="no exercise is called 'q_sampel'; there is q_sample"):
        check("q_sampel", lambda: 0)
    with pytest.raises(ValueError, match="needs the function itself"):
        check("q_sample", torch.zeros(3))


@pytest.mark.parametrize(
    "name, answer, word",
    [
        ("alpha_bar", lambda b: alpha_bar_loop(b).numpy(), "not a tensor"),
        ("cosine_betas", lambda T, s, m: cosine_loop(T, s, m).tolist(), "not a tensor"),
        ("q_sample", lambda a, x, t, e: (x, e), "number of values"),
        ("q_sample", lambda a, x, t, e: {"x_t": x}, "not a tensor"),
    ],
)
def test_unusual_return_values_get_a_sentence(name, answer, word):
    report = check(name, answer)
    assert report.state == "not yet" and word in report.fails


def test_a_list_of_mean_and_variance_and_a_graph_are_fine():
    def as_list(alpha_bar, x_s, s, t):
        return list(q_transition_product(alpha_bar, x_s.requires_grad_(False), s, t))

    assert check("q_transition", as_list).state == "right"
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    assert check("alpha_bar", lambda b: weight * alpha_bar_loop(b)).state == "right"


def test_a_tuple_of_one_is_not_the_value_in_it():
    report = check("alpha_bar", lambda b: (alpha_bar_loop(b),))
    assert report.state == "not yet" and "is not a tensor" in report.fails and report.observed == "tuple"


def test_float32_inside_is_told_from_a_wrong_formula():
    report = check("alpha_bar", lambda b: alpha_bar_loop(b.float()).double())
    assert report.state == "not yet" and "about 7 digits only" in report.fails


def test_a_slip_in_precision_is_not_taken_for_a_mistake_that_equals_the_truth_on_some_inputs():
    """On the first two inputs the mistake is the truth; an answer in float32 must not be called by its name."""
    inputs = [torch.tensor([v], dtype=torch.float64) for v in (1.3, 2.7, -0.7)]
    exercise = Exercise(
        name="identity", equation="", reference=lambda x: x + 0.0, returns=("y",), start="", hint="", see="",
        cases=lambda g: [Case(f"{v.item()}", (v,)) for v in inputs], mistakes=(Mistake("size", "size", torch.abs),),
    )  # fmt: skip
    assert run(exercise, lambda x: x.float()).mistake is None
    assert run(exercise, lambda x: x.float().double()).mistake is None
    assert run(exercise, lambda x: x.abs()).mistake.name == "size"


def _root(x, w):
    return x.sqrt() * w, x + w


def test_gradients_are_compared_where_an_exercise_asks_for_them():
    """∂(Σ_i w_i y_i)/∂x of (√x w, x + w), w = 1, 2: values alone cannot tell a draw that is cut from its parameters."""
    x, w = torch.tensor([4.0, 9.0], dtype=torch.float64), torch.tensor([1.0, 3.0], dtype=torch.float64)
    exercise = Exercise(
        name="root", equation="", reference=_root, returns=("y", "z"), start="", hint="", see="", gradients=("x", "w"),
        cases=lambda g: [Case("two numbers", (x, w)), Case("one", (x[:1], w[:1]))],
        mistakes=(Mistake("cut", "the graph is cut.", lambda x, w: tuple(v.detach() for v in _root(x, w))),),
    )  # fmt: skip
    assert run(exercise, lambda x, w: (x**0.5 * w, w + x)).state == "right"

    def cut(x, w):
        with torch.no_grad():
            return _root(x, w)

    report = run(exercise, cut)
    assert report.mistake.name == "cut" and "gradient with respect to x" in report.fails
    assert (report.observed, report.required) == ("0 at [0]", "1.25 at [0]")  # 1/(2·2)·1·1 + 1
    report = run(exercise, lambda x, w: (x.sqrt() * w.detach(), x + w))
    assert "gradient with respect to w" in report.fails and report.mistake is None
    report = run(exercise, lambda x, w: x)
    assert (report.observed, report.required) == ("1", "2: y, z")
    assert "modified in place" in run(exercise, lambda x, w: (x.sqrt_() * w, x**2 + w)).fails


def test_the_line_of_an_error_and_the_input_are_there_to_work_with():
    def answer(alpha_bar, x0, t, eps):
        y = x0 * 2
        return y @ eps.reshape(-1, 7)

    report = check("q_sample", answer)
    assert "RuntimeError" in report.observed and report.observed.endswith(": return y @ eps.reshape(-1, 7)")
    with pytest.raises(RuntimeError):
        answer(*report.args)


def test_small_inputs_are_shown_and_only_the_first_call_prints(capsys):
    def chatty(alpha_bar, x0, t, eps):
        print("called with", tuple(x0.shape))
        return x0

    report = check("q_sample", chatty)
    assert report.given.startswith("alpha_bar = (1, 0.9, 0.675, 0.405, 0.162), x0 = (") and report.given in repr(report)
    assert capsys.readouterr().out.count("called with") == 1


def test_an_upside_down_ratio_is_not_taken_for_a_shift():
    def upside_down(T, s, max_beta):
        f = torch.cos((torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s) * math.pi / 2) ** 2
        return (1 - f[:-1] / f[1:]).clamp(max=max_beta)

    assert check("cosine_betas", upside_down).mistake.name == "ratio upside down"


def test_errors_of_the_learners_own_code_are_not_taken_for_an_untouched_stub():
    assert check("q_sample", lambda *a: torch.randn(3, dtype=torch.long)).state == "not yet"
    assert check("q_sample", lambda *a: exit()).state == "not yet"
    assert check("alpha_bar", lambda b: alpha_bar_loop(b).to("meta")).state == "not yet"


def test_right_values_with_a_stray_draw_or_a_failing_property_are_not_right():
    def draws(betas):
        torch.rand(1)
        return alpha_bar_loop(betas)

    assert "global random generator" in check("alpha_bar", draws).fails

    known = {len(c.args[0]) for c in EXERCISES["std_of_sum"].cases(torch.Generator())}

    def overfitted(a, b):
        return torch.hypot(a, b) if a[0] != 1.5 else a + b

    assert known == {1, 5}
    report = check("std_of_sum", overfitted)
    assert report.state == "not yet" and "sampled sums" in report.fails

    def raises(a, b):
        if a[0] == 1.5:
            raise KeyError("surprise")
        return torch.hypot(a, b)

    assert "KeyError" in check("std_of_sum", raises).observed


def test_a_gradient_cut_at_z_is_rejected_with_the_reason():
    """No known mistake can name it, since values agree; the property that fails says what cut the gradient."""
    report = check("reparameterize", lambda mean, logvar, eps: (mean + (0.5 * logvar).exp() * eps).detach())
    assert report.state == "not yet" and "detach" in report.observed and "gradient" in report.fails

/* From the divergences' names to the few shapes that are computed. Test: tests/test_ops_divergence.c */
#include "kernels/cpu/cpu_loss.h"

static struct loss_form kl(double f, double r)
{
	return (struct loss_form){.shape = LOSS_KL, .f = f, .r = r};
}

static struct loss_form mixture(double w, double on_p, double on_q, double on_pq)
{
	return (struct loss_form){.shape = LOSS_MIXTURE, .w = w, .on_p = on_p, .on_q = on_q, .on_pq = on_pq};
}

/* JSD's own h has no p q / m: the two divergences' parts cancel. */
static struct loss_form jsd(double a, bool normalized)
{
	if (a > 0 && a < 1)
		return normalized ? mixture(a, 1 / (1 - a), 1 / a, 0) : mixture(a, a, 1 - a, 0);
	if (normalized)
		return a > 0 ? kl(0, 1) : kl(1, 0);
	return (struct loss_form){.shape = LOSS_NOTHING};
}

static struct loss_form alpha_beta(double a, double b)
{
	if (a + b < 1e-4)
		return (struct loss_form){.shape = LOSS_LOG_SQUARE};
	if (a == 1 && b == 0)
		return kl(1, 0);
	if (a == 0 && b == 1)
		return kl(0, 1);
	return (struct loss_form){.shape = LOSS_POWERS, .a = a, .b = b};
}

struct loss_form cpu_loss_form(const struct divergence_term *term)
{
	double a = (double)term->a;
	switch (term->kind) {
	case DIVERGENCE_FORWARD_KL:
		return kl(1, 0);
	case DIVERGENCE_REVERSE_KL:
		return kl(0, 1);
	case DIVERGENCE_SYMMETRIC_KL:
		return kl(1 - a, a);
	case DIVERGENCE_JSD:
		return jsd(a, false);
	case DIVERGENCE_JSD_NORMALIZED:
		return jsd(a, true);
	case DIVERGENCE_SKEW_FORWARD_KL:
		return a > 0 ? mixture(a, 1, 0, a - 1) : kl(1, 0);
	case DIVERGENCE_SKEW_REVERSE_KL:
		return a > 0 ? mixture(1 - a, 0, 1, 1 - a) : kl(0, 1);
	case DIVERGENCE_ADAPTIVE_KL:
		return (struct loss_form){.shape = LOSS_ADAPTIVE, .a = a};
	case DIVERGENCE_ALPHA_BETA:
		return alpha_beta(a, (double)term->b);
	case DIVERGENCE_TOTAL_VARIATION:
		return (struct loss_form){.shape = LOSS_VARIATION};
	case DIVERGENCE_LOGIT_MSE:
		return (struct loss_form){.shape = LOSS_LOGITS};
	case DIVERGENCES:
		break;
	}
	BUG_ON(true);
	return (struct loss_form){.shape = LOSS_NOTHING};
}

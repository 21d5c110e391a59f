/* The largest of a row of logits. Test: tests/test_ops_loss.c */
#include "kernels/cpu/cpu_loss.h"

#include <math.h>

float cpu_block_max(const float *x, int n)
{
	float best[LOSS_LANES], m = -INFINITY;
	for (int l = 0; l < LOSS_LANES; l++)
		best[l] = -INFINITY;
	int i = 0;
	for (; i + LOSS_LANES <= n; i += LOSS_LANES)
		for (int l = 0; l < LOSS_LANES; l++)
			best[l] = x[i + l] > best[l] ? x[i + l] : best[l];
	for (; i < n; i++)
		m = x[i] > m ? x[i] : m;
	for (int half = LOSS_LANES / 2; half > 0; half /= 2) /* a tree: 32 comparisons in a chain would cost more than a block's */
		for (int l = 0; l < half; l++)
			best[l] = best[l + half] > best[l] ? best[l + half] : best[l];
	return best[0] > m ? best[0] : m;
}

float cpu_row_max(const float *x, int V, int32_t *index)
{
	float best = -INFINITY;
	int best_block = 0;
	for (int at = 0; at < V; at += LOSS_BLOCK) {
		float m = cpu_block_max(x + at, V - at < LOSS_BLOCK ? V - at : LOSS_BLOCK);
		if (m > best) {
			best = m;
			best_block = at;
		}
	}
	if (index) {
		int i = best_block, end = V - i < LOSS_BLOCK ? V : i + LOSS_BLOCK;
		while (i < end - 1 && !(x[i] == best))
			i++;
		*index = i < end && x[i] == best ? i : 0;
	}
	return best;
}

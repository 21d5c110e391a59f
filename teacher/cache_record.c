/* A segment's rows as bytes. The high bytes of ids and floats compress well as planes (all first bytes, then all second
 * ones …) under Huffman coding and runs; the low bytes are noise, which is stored as it is. A row's log-probabilities fall:
 * each is stored as what its bits differ by from the one before, which leaves little in the high bytes.
 * Test: tests/test_cache_file.c */
#include "teacher/cache_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum array { COUNTS, TAIL, LSE, CE, ARGMAX, IDS, VALUES, ARRAYS };
struct layout { /* of the planes: the deflated ones of all arrays, then the noisy ones */
	size_t n[ARRAYS];
	int width[ARRAYS], noisy[ARRAYS]; /* bytes of an element; of these the low ones that are noise */
	size_t clean_at[ARRAYS], noise_at[ARRAYS];
	size_t n_clean, n_noise;
};

/* Bytes that a number up to `largest` needs. */
static int bytes_for(uint32_t largest)
{
	return largest >> 24 ? 4 : largest >> 16 ? 3 : largest >> 8 ? 2 : 1;
}

/* n_rows rows with n_ids ids in all. */
static struct layout layout_of(const struct cache_codec *c, size_t n_rows, size_t n_ids)
{
	struct layout l = {.n_clean = 0};
	enum cache_kind kind = c->spec.kind;
	bool hidden = kind == CACHE_HIDDEN, wide = c->spec.value_type == DTYPE_F32;
	int real = hidden ? 0 : 4, id = hidden ? 0 : bytes_for((uint32_t)c->V - 1);
	for (int a = COUNTS; a < IDS; a++)
		l.n[a] = n_rows;
	l.n[IDS] = n_ids;
	l.n[VALUES] = kind == CACHE_HIDDEN ? n_rows * (size_t)c->C : n_ids;
	l.width[COUNTS] = hidden ? 0 : bytes_for((uint32_t)c->spec.K);
	l.width[LSE] = l.width[CE] = real;
	l.width[IDS] = id;
	l.width[TAIL] = kind == CACHE_SAMPLED ? 0 : real;
	l.width[ARGMAX] = kind == CACHE_SAMPLED ? id : 0;
	l.width[VALUES] = wide ? 4 : 2;
	l.noisy[TAIL] = l.width[TAIL] / 2;
	l.noisy[LSE] = l.noisy[CE] = real / 2;
	l.noisy[IDS] = id > 1;
	l.noisy[VALUES] = wide ? 2 : 0;
	for (int a = 0; a < ARRAYS; a++) {
		l.clean_at[a] = l.n_clean;
		l.n_clean += l.n[a] * (size_t)(l.width[a] - l.noisy[a]);
	}
	l.n_noise = l.n_clean;
	for (int a = 0; a < ARRAYS; a++) {
		l.noise_at[a] = l.n_noise;
		l.n_noise += l.n[a] * (size_t)l.noisy[a];
	}
	l.n_noise -= l.n_clean;
	return l;
}

/* An array's planes, low byte first. */
struct lanes {
	uint8_t *p[4];
	int width;
};

static struct lanes lanes_of(const struct layout *l, uint8_t *planes, enum array a)
{
	struct lanes s = {.width = l->width[a]};
	for (int i = 0; i < l->width[a]; i++)
		s.p[i] = planes + (i < l->noisy[a] ? l->noise_at[a] + (size_t)i * l->n[a]
						   : l->clean_at[a] + (size_t)(i - l->noisy[a]) * l->n[a]);
	return s;
}

static inline void put(const struct lanes *s, size_t i, uint32_t v)
{
	for (int p = 0; p < s->width; p++)
		s->p[p][i] = (uint8_t)(v >> 8 * p);
}

static inline uint32_t get(const struct lanes *s, size_t i)
{
	uint32_t v = 0;
	for (int p = 0; p < s->width; p++)
		v |= (uint32_t)s->p[p][i] << 8 * p;
	return v;
}

static inline uint32_t bits_of(float f)
{
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	return u;
}

static inline float float_of(uint32_t u)
{
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

/* Many in a row, from element `at` on: plane by plane, which vectorises. */
static void put_all(const struct lanes *s, size_t at, const uint32_t *v, size_t n)
{
	for (int p = 0; p < s->width; p++) {
		uint8_t *to = s->p[p] + at;
#pragma omp simd
		for (size_t i = 0; i < n; i++)
			to[i] = (uint8_t)(v[i] >> 8 * p);
	}
}

static void get_all(const struct lanes *s, size_t at, uint32_t *v, size_t n)
{
	memset(v, 0, n * sizeof *v);
	for (int p = 0; p < s->width; p++) {
		const uint8_t *from = s->p[p] + at;
#pragma omp simd
		for (size_t i = 0; i < n; i++)
			v[i] |= (uint32_t)from[i] << 8 * p;
	}
}

static inline uint32_t value_bits(const struct lanes *s, float f)
{
	return s->width == 2 ? bf16_from_f32(f) : bits_of(f);
}

static inline float value_of(const struct lanes *s, uint32_t v)
{
	return s->width == 2 ? bf16_to_f32((uint16_t)v) : float_of(v);
}

/* ---- life ---- */

size_t cache_row_bytes(const struct cache_spec *spec, const struct cache_identity *id)
{
	struct cache_codec c = {.spec = *spec, .V = id->V, .C = id->C};
	struct layout l = layout_of(&c, 1, (size_t)spec->K);
	return l.n_clean + l.n_noise;
}

int cache_codec_init(struct cache_codec *c, const struct cache_spec *spec, const struct cache_identity *id, size_t max_rows,
		     struct err *e)
{
	*c = (struct cache_codec){.spec = *spec, .V = id->V, .C = id->C, .max_rows = max_rows};
	c->plane_bytes = max_rows * cache_row_bytes(spec, id);
	if (c->plane_bytes > UINT32_MAX / 2)
		return err_user(e, "the cache keeps %zu bytes a token: too many for a sequence of %zu tokens",
				cache_row_bytes(spec, id), max_rows);
	c->planes = malloc(c->plane_bytes);
	c->numbers = malloc((size_t)(spec->kind == CACHE_HIDDEN ? id->C : spec->K) * sizeof *c->numbers);
	int strategy = spec->kind == CACHE_HIDDEN ? Z_HUFFMAN_ONLY : Z_RLE; /* hidden states have no runs */
	c->deflates = deflateInit2(&c->deflater, 1, Z_DEFLATED, -15, 8, strategy) == Z_OK;
	c->inflates = inflateInit2(&c->inflater, -15) == Z_OK;
	if (c->planes && c->numbers && c->deflates && c->inflates)
		return 0;
	cache_codec_release(c);
	return err_run(e, "out of memory to compress the cache (%zu bytes)", max_rows * cache_row_bytes(spec, id));
}

void cache_codec_release(struct cache_codec *c)
{
	if (c->deflates)
		deflateEnd(&c->deflater);
	if (c->inflates)
		inflateEnd(&c->inflater);
	free(c->planes);
	free(c->numbers);
	*c = (struct cache_codec){.planes = NULL};
}

size_t cache_encode_bound(const struct cache_codec *c, size_t n_rows)
{
	size_t n = n_rows * (c->plane_bytes / c->max_rows);
	return n + n / 7 + 64; /* zlib's own bound, for any strategy */
}

/* ---- writing ---- */

static size_t count_of(const struct cache_codec *c, const struct cache_block *b, size_t row)
{
	size_t n = 0, K = (size_t)c->spec.K;
	while (n < K && b->ids[row * K + n] >= 0)
		n++;
	return n;
}

static int not_finite(size_t row, struct err *e)
{
	return err_run(e, "the teacher's output for token %zu of the batch is not finite: check its checkpoint", row);
}

static int put_hidden(const struct cache_codec *c, const struct layout *l, const struct cache_block *b, size_t row, struct err *e)
{
	struct lanes values = lanes_of(l, c->planes, VALUES);
	size_t C = (size_t)c->C;
	for (size_t at = 0; at < l->n[VALUES]; at += C, row++) {
		bool finite = true;
		for (size_t i = 0; i < C; i++) {
			finite &= (bool)isfinite(b->hidden[row * C + i]);
			c->numbers[i] = value_bits(&values, b->hidden[row * C + i]);
		}
		if (!finite)
			return not_finite(row, e);
		put_all(&values, at, c->numbers, C);
	}
	return 0;
}

/* The ids of a row at `at`; returns how many, 0 where one has no finite value. */
static size_t put_ids(const struct cache_codec *c, const struct layout *l, const struct cache_block *b, size_t row, size_t at)
{
	struct lanes ids = lanes_of(l, c->planes, IDS), values = lanes_of(l, c->planes, VALUES);
	size_t n = count_of(c, b, row), from = row * (size_t)c->spec.K;
	uint32_t before = 0;
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(b->log_p[from + i]))
			return 0;
		uint32_t v = value_bits(&values, b->log_p[from + i]);
		c->numbers[i] = v - before;
		before = v;
	}
	put_all(&values, at, c->numbers, n);
	for (size_t i = 0; i < n; i++)
		c->numbers[i] = (uint32_t)b->ids[from + i];
	put_all(&ids, at, c->numbers, n);
	return n;
}

static int put_rows(const struct cache_codec *c, const struct layout *l, const struct cache_block *b, size_t row,
		    double *mass, struct err *e)
{
	struct lanes lanes[ARRAYS];
	size_t at = 0;
	for (int a = 0; a < ARRAYS; a++)
		lanes[a] = lanes_of(l, c->planes, (enum array)a);
	for (size_t i = 0; i < l->n[LSE]; i++) {
		size_t n = put_ids(c, l, b, row + i, at), r = row + i;
		if (!n || !isfinite(b->lse[r]) || !isfinite(b->ce[r]) || (l->width[TAIL] && !isfinite(b->tail[r])))
			return not_finite(r, e);
		put(&lanes[COUNTS], i, (uint32_t)n);
		put(&lanes[LSE], i, bits_of(b->lse[r]));
		put(&lanes[CE], i, bits_of(b->ce[r]));
		if (l->width[TAIL])
			put(&lanes[TAIL], i, bits_of(b->tail[r]));
		if (l->width[ARGMAX])
			put(&lanes[ARGMAX], i, (uint32_t)b->argmax[r]);
		*mass += l->width[TAIL] ? 1 - (double)b->tail[r] : 1;
		at += n;
	}
	return 0;
}

int cache_encode(struct cache_codec *c, const struct cache_block *b, size_t row, size_t n_rows, uint8_t *out, size_t *n_bytes,
		 double *mass, struct err *e)
{
	size_t n_ids = 0;
	bool hidden = c->spec.kind == CACHE_HIDDEN;
	BUG_ON(n_rows > c->max_rows);
	for (size_t r = row; !hidden && r < row + n_rows; r++)
		n_ids += count_of(c, b, r);
	struct layout l = layout_of(c, n_rows, n_ids);
	*mass = hidden ? (double)n_rows : 0;
	if ((hidden ? put_hidden(c, &l, b, row, e) : put_rows(c, &l, b, row, mass, e)) < 0)
		return -1;
	size_t bound = cache_encode_bound(c, n_rows);
	deflateReset(&c->deflater);
	c->deflater.next_in = c->planes;
	c->deflater.avail_in = (uInt)l.n_clean;
	c->deflater.next_out = out;
	c->deflater.avail_out = (uInt)(bound - l.n_noise);
	BUG_ON(deflate(&c->deflater, Z_FINISH) != Z_STREAM_END);
	*n_bytes = (size_t)(c->deflater.next_out - out);
	memcpy(out + *n_bytes, c->planes + l.n_clean, l.n_noise);
	*n_bytes += l.n_noise;
	return 0;
}

/* ---- reading ---- */

static void get_hidden(const struct cache_codec *c, const struct layout *l, const struct cache_block *b, size_t row)
{
	struct lanes values = lanes_of(l, c->planes, VALUES);
	size_t C = (size_t)c->C;
	for (size_t at = 0; b->hidden && at < l->n[VALUES]; at += C, row++) {
		get_all(&values, at, c->numbers, C);
		for (size_t i = 0; i < C; i++)
			b->hidden[row * C + i] = value_of(&values, c->numbers[i]);
	}
}

/* Rounding moved a row's probabilities: one factor puts their sum back to 1 - tail. */
static void rescale(float *log_p, size_t n, float tail)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += (double)expf(log_p[i]);
	float shift = (float)(log1p(-(double)tail) - log(sum));
	for (size_t i = 0; isfinite(shift) && i < n; i++)
		log_p[i] += shift;
}

static bool get_ids(const struct cache_codec *c, const struct layout *l, const struct cache_block *b, size_t row, size_t n,
		    size_t at)
{
	struct lanes ids = lanes_of(l, c->planes, IDS), values = lanes_of(l, c->planes, VALUES);
	size_t K = (size_t)c->spec.K, to = row * K;
	uint32_t largest = 0, v = 0;
	get_all(&ids, at, c->numbers, n);
	for (size_t i = 0; i < n; i++)
		largest = c->numbers[i] > largest ? c->numbers[i] : largest;
	if (largest >= (uint32_t)c->V)
		return false;
	for (size_t i = 0; b->ids && i < K; i++)
		b->ids[to + i] = i < n ? (int32_t)c->numbers[i] : -1;
	if (b->argmax && c->spec.kind != CACHE_SAMPLED)
		b->argmax[row] = (int32_t)c->numbers[0];
	if (!b->log_p)
		return true;
	get_all(&values, at, c->numbers, n);
	for (size_t i = 0; i < K; i++)
		b->log_p[to + i] = i < n ? value_of(&values, v += c->numbers[i]) : 0;
	return true;
}

static bool get_row(const struct cache_codec *c, const struct layout *l, const struct cache_block *b, size_t row, size_t i,
		    size_t n, size_t at)
{
	struct lanes lanes[ARRAYS];
	for (int a = TAIL; a <= ARGMAX; a++)
		lanes[a] = lanes_of(l, c->planes, (enum array)a);
	float tail = l->width[TAIL] ? float_of(get(&lanes[TAIL], i)) : 0;
	if (!get_ids(c, l, b, row, n, at))
		return false;
	if (b->log_p && c->spec.value_type == DTYPE_BF16 && l->width[TAIL])
		rescale(b->log_p + row * (size_t)c->spec.K, n, tail);
	if (b->tail)
		b->tail[row] = tail;
	if (b->lse)
		b->lse[row] = float_of(get(&lanes[LSE], i));
	if (b->ce)
		b->ce[row] = float_of(get(&lanes[CE], i));
	if (b->argmax && l->width[ARGMAX])
		b->argmax[row] = (int32_t)get(&lanes[ARGMAX], i);
	return !l->width[ARGMAX] || get(&lanes[ARGMAX], i) < (uint32_t)c->V;
}

/* The deflated planes of a payload into c->planes; the bytes after them are *noise. */
static bool inflate_planes(struct cache_codec *c, const uint8_t *payload, size_t n_bytes, size_t *n_clean, const uint8_t **noise,
			   size_t *n_noise)
{
	z_stream *z = &c->inflater;
	if (n_bytes > UINT32_MAX || inflateReset(z) != Z_OK)
		return false;
	z->next_in = (Bytef *)(uintptr_t)payload;
	z->avail_in = (uInt)n_bytes;
	z->next_out = c->planes;
	z->avail_out = (uInt)c->plane_bytes;
	if (inflate(z, Z_FINISH) != Z_STREAM_END)
		return false;
	*n_clean = c->plane_bytes - z->avail_out;
	*noise = z->next_in;
	*n_noise = z->avail_in;
	return true;
}

/* The sum of all counts, SIZE_MAX when one is out of range or the planes end before. */
static size_t total_ids(const struct cache_codec *c, size_t n_rows, size_t n_clean)
{
	struct layout l = layout_of(c, n_rows, 0);
	struct lanes counts = lanes_of(&l, c->planes, COUNTS);
	size_t total = 0;
	if (n_clean < (size_t)l.width[COUNTS] * n_rows)
		return SIZE_MAX;
	for (size_t i = 0; i < n_rows; i++) {
		uint32_t n = get(&counts, i);
		if (n < 1 || n > (uint32_t)c->spec.K)
			return SIZE_MAX;
		total += n;
	}
	return total;
}

bool cache_decode(struct cache_codec *c, const uint8_t *payload, size_t n_bytes, const struct cache_block *b, size_t row,
		  size_t n_rows)
{
	size_t n_clean, n_noise, n_ids = 0;
	const uint8_t *noise;
	bool hidden = c->spec.kind == CACHE_HIDDEN;
	if (n_rows > c->max_rows || !inflate_planes(c, payload, n_bytes, &n_clean, &noise, &n_noise))
		return false;
	if (!hidden && (n_ids = total_ids(c, n_rows, n_clean)) == SIZE_MAX)
		return false;
	struct layout l = layout_of(c, n_rows, n_ids);
	if (n_clean != l.n_clean || n_noise != l.n_noise)
		return false;
	memcpy(c->planes + n_clean, noise, n_noise);
	if (hidden) {
		get_hidden(c, &l, b, row);
		return true;
	}
	for (size_t i = 0, at = 0; i < n_rows; i++) {
		struct lanes counts = lanes_of(&l, c->planes, COUNTS);
		size_t n = get(&counts, i);
		if (!get_row(c, &l, b, row + i, i, n, at))
			return false;
		at += n;
	}
	return true;
}

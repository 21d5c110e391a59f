/* Every 16-bit value both ways, and rounding to nearest even at and around every boundary between neighbours. */
#include "tests/testing.h"

#include "kernels/dtype.h"

static double f16_value(uint16_t h)
{
	int exponent = h >> 10 & 31, fraction = h & 0x3ff;
	double magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
			   : exponent     ? ldexp(1024 + fraction, exponent - 25)
					  : ldexp(fraction, -24);
	return h & 0x8000 ? -magnitude : magnitude;
}

static double bf16_value(uint16_t h)
{
	int exponent = h >> 7 & 255, fraction = h & 0x7f;
	double magnitude = exponent == 255 ? (fraction ? NAN : INFINITY)
			   : exponent      ? ldexp(128 + fraction, exponent - 134)
					   : ldexp(fraction, -133);
	return h & 0x8000 ? -magnitude : magnitude;
}

struct format {
	double (*value)(uint16_t);
	float (*widen)(uint16_t);
	uint16_t (*narrow)(float);
	uint16_t infinity, nan_bit;
};
static float widen_bf16(uint16_t h)
{
	return bf16_to_f32(h);
}
static uint16_t narrow_bf16(float f)
{
	return bf16_from_f32(f);
}
static const struct format FORMATS[] = {{f16_value, f16_to_f32, f16_from_f32, 0x7c00, 0x0200},
					{bf16_value, widen_bf16, narrow_bf16, 0x7f80, 0x0040}};

static void test_widen_all(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++)
		for (unsigned i = 0; i < 65536; i++) {
			const struct format *f = FORMATS + k;
			uint16_t h = (uint16_t)i;
			double want = f->value(h);
			float got = f->widen(h);
			if (isnan(want)) {
				assert_true(isnan(got));
				uint16_t back = f->narrow(got);
				assert_int_equal(back & ~f->nan_bit, h & ~f->nan_bit); /* sign and payload */
				assert_true(isnan(f->value(back)));
			} else {
				assert_true((double)got == want && !signbit(got) == !signbit(want));
				assert_int_equal(f->narrow(got), h);
			}
		}
}

/* Between neighbours h and h+1: below the middle to h, above to h+1, the middle to the even one. */
static void test_round_all(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++)
		for (unsigned i = 0; i < FORMATS[k].infinity; i++) {
			const struct format *f = FORMATS + k;
			uint16_t h = (uint16_t)i, next = (uint16_t)(h + 1);
			double step = f->value(h) - f->value((uint16_t)(h ? h - 1 : 0));
			double above = next == f->infinity ? f->value(h) + step : f->value(next);
			float middle = (float)((f->value(h) + above) / 2); /* exact, save where fp32 itself runs out */
			if ((double)middle != (f->value(h) + above) / 2)
				continue;
			assert_int_equal(f->narrow(middle), h % 2 ? next : h);
			assert_int_equal(f->narrow(nextafterf(middle, 0)), h);
			assert_int_equal(f->narrow(nextafterf(middle, INFINITY)), next);
			assert_int_equal(f->narrow(-middle), (h % 2 ? next : h) | 0x8000);
		}
	assert_int_equal(f16_from_f32(1e30f), 0x7c00);
	assert_int_equal(f16_from_f32(-INFINITY), 0xfc00);
	assert_int_equal(bf16_from_f32(3.4e38f), 0x7f80);
	assert_int_equal(f16_from_f32(0x1p-149f), 0);
}

static void test_names(void **state)
{
	(void)state;
	enum dtype t;
	for (int i = DTYPE_F32; i <= DTYPE_F16; i++) {
		assert_int_equal(dtype_parse(dtype_name((enum dtype)i), &t), 0);
		assert_int_equal(t, i);
	}
	assert_string_equal(dtype_torch_name(DTYPE_BF16), "bfloat16");
	assert_int_equal(dtype_parse("F64", &t), -1);
	assert_int_equal(dtype_parse("", &t), -1);
	assert_int_equal(dtype_size(DTYPE_F32), 4);
	assert_int_equal(dtype_size(DTYPE_F16), 2);
}

static void test_convert(void **state)
{
	(void)state;
	float f[3] = {1, -2.5f, 65504}, back[3];
	uint16_t h[3], b[3];
	dtype_convert(h, DTYPE_F16, f, DTYPE_F32, 3);
	dtype_convert(b, DTYPE_BF16, h, DTYPE_F16, 3);
	dtype_convert(back, DTYPE_F32, b, DTYPE_BF16, 3);
	assert_true(back[0] == 1 && back[1] == -2.5f && back[2] == 65536);
	dtype_convert(back, DTYPE_F32, back, DTYPE_F32, 3);
	dtype_convert(f, DTYPE_F32, back, DTYPE_F32, 3);
	assert_true(f[2] == 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_widen_all), cmocka_unit_test(test_round_all),
					   cmocka_unit_test(test_names), cmocka_unit_test(test_convert)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "data/unicode.h"

#include <string.h>
#include <utf8proc.h>

/* Allowed second bytes by lead byte (Unicode table 3-7); returns the length of the sequence, 0 if no lead byte. */
static int lead(unsigned char b, unsigned char *low, unsigned char *high)
{
	*low = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;
	*high = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
	if (b >= 0xC2 && b <= 0xDF)
		return 2;
	if (b >= 0xE0 && b <= 0xEF)
		return 3;
	return b >= 0xF0 && b <= 0xF4 ? 4 : 0;
}

int utf8_next(const char *p, size_t n, int32_t *c)
{
	const unsigned char *s = (const unsigned char *)p;
	if (s[0] < 0x80) {
		*c = s[0];
		return 1;
	}
	unsigned char low, high;
	int length = lead(s[0], &low, &high);
	*c = -1;
	if (!length)
		return -1;
	int32_t value = s[0] & (0x7F >> length);
	for (int i = 1; i < length; i++) {
		if ((size_t)i == n || s[i] < low || s[i] > high)
			return -i;
		value = value << 6 | (s[i] & 0x3F);
		low = 0x80, high = 0xBF;
	}
	*c = value;
	return length;
}

size_t utf8_valid_prefix(const char *p, size_t n)
{
	size_t i = 0;
	while (i < n) {
		uint64_t word;
		if (i + 8 <= n && (memcpy(&word, p + i, 8), !(word & 0x8080808080808080u))) {
			i += 8;
			continue;
		}
		int32_t c;
		int length = utf8_next(p + i, n - i, &c);
		if (length < 0)
			break;
		i += (size_t)length;
	}
	return i;
}

int utf8_put(char out[4], int32_t c)
{
	return (int)utf8proc_encode_char(c, (utf8proc_uint8_t *)out);
}

bool unicode_is_space(int32_t c)
{
	return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
	       c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* Alphabetic symbols that are neither letters nor marks: the circled and squared Latin letters. */
static bool is_enclosed_letter(int32_t c)
{
	return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
	       (c >= 0x1F170 && c <= 0x1F189);
}

bool unicode_is_word(int32_t c)
{
	switch (utf8proc_category(c)) {
	case UTF8PROC_CATEGORY_LU:
	case UTF8PROC_CATEGORY_LL:
	case UTF8PROC_CATEGORY_LT:
	case UTF8PROC_CATEGORY_LM:
	case UTF8PROC_CATEGORY_LO:
	case UTF8PROC_CATEGORY_MN:
	case UTF8PROC_CATEGORY_MC:
	case UTF8PROC_CATEGORY_ME:
	case UTF8PROC_CATEGORY_ND:
	case UTF8PROC_CATEGORY_NL:
	case UTF8PROC_CATEGORY_PC:
		return true;
	default:
		return c == 0x200C || c == 0x200D || is_enclosed_letter(c);
	}
}

bool unicode_is_numeric(int32_t c)
{
	utf8proc_category_t k = utf8proc_category(c);
	return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool unicode_is_punctuation(int32_t c)
{
	if (c < 0x80)
		return c > ' ' && c < 0x7F && !((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'));
	utf8proc_category_t k = utf8proc_category(c);
	return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

int unicode_lower(int32_t c, int32_t out[2])
{
	if (c == 0x130) { /* the one letter whose lower case has two code points */
		out[0] = 'i', out[1] = 0x307;
		return 2;
	}
	out[0] = utf8proc_tolower(c);
	return 1;
}

/* The bijection of bytes and printable characters: the 188 printable Latin-1 ones stand for themselves, the others are
 * numbered from U+0100. */
#include "data/pretokenize.h"
#include "data/unicode.h"

static bool stands_for_itself(int32_t c)
{
	return (c >= '!' && c <= '~') || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

/* The bytes that don't: 0x00-0x20, 0x7F-0xA0, 0xAD. */
int32_t byte_level_char(unsigned char byte)
{
	if (stands_for_itself(byte))
		return byte;
	if (byte <= 0x20)
		return 0x100 + byte;
	return byte == 0xAD ? 0x143 : 0x121 + (byte - 0x7F);
}

int byte_level_byte(int32_t c)
{
	if (stands_for_itself(c))
		return c;
	if (c >= 0x100 && c <= 0x120)
		return c - 0x100;
	if (c >= 0x121 && c <= 0x142)
		return c - 0x121 + 0x7F;
	return c == 0x143 ? 0xAD : -1;
}

int byte_level_append(struct bytes *out, const char *s, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		char text[4];
		if (bytes_append(out, text, (size_t)utf8_put(text, byte_level_char((unsigned char)s[i])), e) < 0)
			return -1;
	}
	return 0;
}

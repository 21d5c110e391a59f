#include "kernels/ops.h"
#include "recipes/run.h"

#include <commit.h> /* of the build directory, see recipes/commit.cmake */

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>
#include <stdio.h>
#include <utf8proc.h>
#include <xxhash.h>
#include <yaml.h>
#include <zlib.h>

const char *version_number(void)
{
	return ESPALIER_VERSION;
}

const char *version_commit(void)
{
	return ESPALIER_COMMIT;
}

void version_describe(char *out, size_t n)
{
	char cpu[256], pcre[64] = "";
	ops_cpu_describe(cpu, sizeof cpu);
	pcre2_config(PCRE2_CONFIG_VERSION, pcre);
	snprintf(out, n, "espalier %s (%s)\n%s\nCUDA: not in this build\nlibyaml %s, jansson %s, zlib %s, PCRE2 %s, utf8proc %s, xxHash %u\n",
		 version_number(), version_commit(), cpu, yaml_get_version_string(), JANSSON_VERSION, zlibVersion(), pcre,
		 utf8proc_version(), XXH_versionNumber());
}

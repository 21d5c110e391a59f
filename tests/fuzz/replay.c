/* Feeds every file of a corpus folder to a fuzz target, whole and cut at every 16th part: the fuzzers' memory as a test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
	int n_files = 0;
	if (!dir) {
		fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
		return 2;
	}
	for (struct dirent *entry; (entry = readdir(dir));) {
		char path[4096];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
		FILE *f = fopen(path, "rb");
		uint8_t *data = malloc(1 << 20);
		if (!f || !data)
			return 1;
		size_t n = fread(data, 1, 1 << 20, f);
		fclose(f);
		for (size_t part = 0; part <= 16; part++) {
			size_t size = n * part / 16;
			uint8_t *copy = malloc(size ? size : 1); /* exact size, so that a sanitizer sees the first byte past it */
			if (!copy)
				return 1;
			for (size_t i = 0; i < size; i++)
				copy[i] = data[i];
			LLVMFuzzerTestOneInput(copy, size);
			free(copy);
		}
		free(data);
		n_files++;
	}
	closedir(dir);
	printf("%d files replayed\n", n_files);
	return n_files ? 0 : 1;
}

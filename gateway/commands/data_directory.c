/* The data directory as people name it; see data_directory.h. */
#include "gateway/commands/data_directory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

char *data_directory(char *path)
{
	static const char inside[] = "/journal";
	char below[4200];
	size_t len = strlen(path), most = sizeof(inside) - 1;
	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	if (len <= most || strcmp(path + len - most, inside) != 0)
		return path;
	snprintf(below, sizeof(below), "%s%s", path, inside);
	if (access(below, F_OK) != 0)
		path[len - most] = '\0';
	return path;
}

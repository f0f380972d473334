/* The data directory as people name it on the command line. */
#ifndef SLUICE_GATEWAY_COMMANDS_DATA_DIRECTORY_H
#define SLUICE_GATEWAY_COMMANDS_DATA_DIRECTORY_H

/* data_directory takes DIR or its `journal`, as all commands do: cuts slashes at the end and `/journal` off the text, the latter only if there is no
 * journal below it. Returns path. */
char *data_directory(char *path);

#endif

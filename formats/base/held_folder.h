/* SPDX-License-Identifier: MIT
 * The folders that this process holds open while it writes into them. A path below a held folder is not looked up from
 * the root: it is opened, created, renamed or removed below the folder's descriptor. So a file never gets into another
 * folder that has taken the path meanwhile, and a call below a folder that was removed fails with ENOENT. */
#ifndef ORGAN_HELD_FOLDER_H
#define ORGAN_HELD_FOLDER_H

/* A folder that is held. */
typedef struct organ_held_folder organ_held_folder;

/* Holds the folder `fd`, which has the path `path`, until organ_held_folder_drop. The caller keeps the descriptor open
 * until then. Returns NULL if memory runs out. */
organ_held_folder *organ_held_folder_add(const char *path, int fd);
/* Ends holding a folder, also if other threads use it; NULL is allowed. */
void organ_held_folder_drop(organ_held_folder *folder);

/* Between both calls no folder is dropped; they keep errno and must not be nested. */
void organ_held_folders_use(void);
void organ_held_folders_leave(void);
/* Returns the descriptor of the held folder at or above `path` and sets *name to the rest of the path, "." for the
 * folder itself. If no such folder is held, returns AT_FDCWD and sets *name to `path`. Only between
 * organ_held_folders_use and organ_held_folders_leave; the descriptor may be used as long. */
int organ_held_folder_of(const char *path, const char **name);

#endif

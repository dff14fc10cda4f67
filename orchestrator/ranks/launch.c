/* SPDX-License-Identifier: MIT */
#include "orchestrator/ranks/ranks.h"

#include <stdlib.h>

/* The environment variables that launchers set for each process. organ_launch_find uses the first row whose variables
 * exist, even if their count is 1: processes that mpirun starts inside a Slurm job also have srun's variables, which
 * describe the step of mpirun's daemons. A batch script or a shell of salloc is not a step with several tasks. */
static const struct launcher {
    const char *name;         /* of the launcher, for messages */
    const char *count, *rank; /* names of the variables with the number of processes and with this process's rank */
} launchers[] = {{"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                 {"mpirun", "PMI_SIZE", "PMI_RANK"},
                 {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};

static bool launch_number_of(const char *variable, size_t *number)
{
    const char *const text = getenv(variable);
    char *end = NULL;
    if (!text || *text < '0' || *text > '9')
        return false;
    *number = strtoul(text, &end, 10);
    return *end == '\0';
}

const char *organ_launch_silence(void)
{
    const char *const text = getenv(ORGAN_SILENCE_VARIABLE);
    return text ? text : "";
}

/* Without a launcher's variables, or if the number is 0, the result is rank 0 of 1 process. */
organ_launch organ_launch_find(void)
{
    for (size_t k = 0; k < sizeof launchers / sizeof *launchers; k++) {
        organ_launch launch = {.launcher = launchers[k].name};
        if (launch_number_of(launchers[k].count, &launch.count) && launch_number_of(launchers[k].rank, &launch.rank))
            return launch.count > 0 ? launch : (organ_launch){.count = 1};
    }
    return (organ_launch){.count = 1};
}

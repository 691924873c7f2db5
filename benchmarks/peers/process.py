"""What a peer says of its own process, measured as gmner does."""
import os
import resource
import time


def age():
    """Seconds since this process began, by the kernel's clock of processes (hundredths)."""
    fields = open("/proc/self/stat").read().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

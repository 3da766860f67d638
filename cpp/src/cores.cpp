#include "cores.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace hrvit {
namespace {

/// CPUs that share a core name the same ones.
std::string siblings(unsigned cpu) {
    const std::string number = std::to_string(cpu);
    std::ifstream file("/sys/devices/system/cpu/cpu" + number +
                       "/topology/thread_siblings_list");
    std::string listed;
    return std::getline(file, listed) ? listed : number;
}

std::size_t allowed_cores() {
    std::set<std::string> cores;
#ifdef __linux__
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (CPU_ISSET(cpu, &allowed)) {
                cores.insert(siblings(cpu));
            }
        }
        return cores.size();
    }
#endif
    for (unsigned cpu = 0; cpu < std::thread::hardware_concurrency(); ++cpu) {
        cores.insert(siblings(cpu));
    }
    return cores.size();
}

/// Whole cores of a version 2 control group's quota; a large number without one.
std::size_t quota() {
    std::ifstream file("/sys/fs/cgroup/cpu.max");
    double granted = 0;
    double period = 0;
    if (file >> granted >> period && period > 0) {
        return static_cast<std::size_t>(std::ceil(granted / period));
    }
    return std::numeric_limits<std::size_t>::max();
}

}  // namespace

std::size_t usable_cores() {
    return std::max<std::size_t>(1, std::min(allowed_cores(), quota()));
}

}  // namespace hrvit

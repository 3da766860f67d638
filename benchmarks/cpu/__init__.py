"""The deploy form beside its peers on a CPU."""

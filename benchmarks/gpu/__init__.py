"""The deploy form beside every other way to run the network on a GPU."""

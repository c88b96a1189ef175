"""The lessons, in `texts/`, and what is made of them to look at: pages, notebooks, copies for a learner."""

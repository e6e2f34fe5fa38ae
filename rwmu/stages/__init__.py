"""The stages of a run, in their order: data, dynamics, policy, deployment, report; each takes finished objects."""

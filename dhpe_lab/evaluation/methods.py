"""Names of the methods of ``rivals``. Imports nothing, for the parser."""

METHODS = {
    "dhpe": "this project: networks and refinement as configured",
    "networks": "the same networks without refinement",
    "swarm": "particle swarm about the networks' estimate, after Oikonomidis et al.",
    "keypoints": "fit of the mean hand to 2D joints alone, after Panteleris et al.",
    "mediapipe": "MediaPipe Hands, where it is installed",
}

STUDY_STEPS = (1, 2, 5, 10, 20, 50, 100)  # the paper's figure goes from 0 to 100

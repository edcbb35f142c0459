"""One sentence under each figure."""

CAPTIONS = {
    "scatter": "Predicted against true bone age; the colour is the density of radiographs, the "
    "line is perfect agreement, and the shaded bands are the stages.",
    "bland_altman": "Bland-Altman plot: between the dashed limits of agreement lie 95 % of the "
    "differences, if these are normal.",
    "residuals": "Error against true age by sex; a line is the mean error of radiographs within "
    "one year (five or more): one that falls from left to right is regression to the mean.",
    "error_by_band": "Mean absolute error and bias by age band with 95 % intervals; a hollow "
    "marker stands for fewer than 20 radiographs.",
    "confusion": "True stage by row, predicted stage by column: radiographs, and percent of the "
    "row; † marks a stage with fewer than 20 radiographs.",
    "error_near_edge": "How often the stage is wrong, by signed distance of the true age from each "
    "edge between stages, with exact 95 % intervals; hollow: fewer than 20 radiographs.",
    "reliability": "Reliability: how often the predicted stage is right against the probability "
    "it was given, and how often such a probability occurs (15 bins; hollow: fewer than 20).",
    "precision_recall": "Precision and recall of each stage against the others over all "
    "thresholds; a dotted line is the precision of guessing.",
    "learning_curves": "Loss and validation metrics by epoch; the checkpoint with the best "
    "monitored validation metric was tested.",
    "folds": "Bone age and sex of the radiographs in each fold.",
    "augmented": "Training radiographs from the youngest to the oldest as the network sees them, "
    "plain and in three epochs of augmentation.",
    "architecture": "The model: each block with the shape of its output for one radiograph "
    "(channels x height x width) and its trainable parameters.",
}

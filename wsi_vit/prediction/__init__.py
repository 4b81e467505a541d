"""What a trained model says about slides and pictures, in files that other programs open."""

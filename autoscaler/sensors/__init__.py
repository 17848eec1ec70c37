"""What the autoscaler can see. One module for each outside system; none of them imports another."""

variable "environment" {
  description = "The GitHub environment that pushes, which is part of the names here."
  type        = string
  default     = "qa"
}

variable "subjects" {
  description = <<-EOT
    The subjects of GitHub's token that may push. Repositories made since 2026-07-15 have numbers in it:
    repo:ORG@ORG_ID/REPO@REPO_ID:environment:qa. Older ones have the form repo:ORG/REPO:environment:qa.
    Name the form that your repository emits, and no pattern.
  EOT
  type        = list(string)

  validation {
    condition = length(var.subjects) > 0 && alltrue([
      for subject in var.subjects : can(regex("^repo:[^*?]+:environment:[^*?]+$", subject))
    ])
    error_message = "Each subject is repo:OWNER/REPOSITORY:environment:NAME, without * and ?."
  }
}

variable "images" {
  description = "One repository for each image."
  type        = set(string)
  default     = ["celery-pool-autoscaler", "docservice"]
}

variable "kept_images" {
  description = "How many pushed images of each repository are kept."
  type        = number
  default     = 50
}

variable "oidc_provider_arn" {
  description = "The account's provider for token.actions.githubusercontent.com; empty creates it."
  type        = string
  default     = ""
}
